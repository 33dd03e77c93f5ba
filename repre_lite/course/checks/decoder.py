"""Lesson 03: the fusion layer, how far a vector reaches, a fusion of one's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...decoder import ReconstructionDecoder
from .exercise import Fill, Open, Prediction, Rule, Wrong


def _maps() -> list[tuple[Tensor, ...]]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 4, 4), (2, 3, 4, 4), (3, 6, 3, 3), (3,))
    return [tuple(torch.randn(shape, generator=draw) for shape in shapes)]


def _fused(deep: Tensor, shallow: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(torch.cat([deep, shallow], 1), weight, bias, padding=1).relu()


check_fusion_block = Fill(
    task="`fusion_block(deep, shallow, weight, bias)`: concatenate, 3x3 convolution, ReLU. Maps (B, C, h, w), `weight` "
    "(C, 2C, 3, 3), `bias` (C,).",
    solved="fusion block: right, values and gradients",
    cases=_maps,
    right=(
        _fused,
        lambda deep, shallow, weight, bias: (
            F.conv2d(deep, weight[:, :3], bias, padding=1) + F.conv2d(shallow, weight[:, 3:], padding=1)
        ).clamp(min=0),
        lambda deep, shallow, weight, bias: torch.where(
            (x := F.conv2d(torch.hstack([deep, shallow]), weight, bias, padding="same")) > 0, x, 0
        ),
    ),
    wrong=(
        Wrong(
            lambda deep, shallow, weight, bias: _fused(shallow, deep, weight, bias),
            "the order of the concatenation decides which weights each map meets: the deep map comes first",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: F.conv2d(torch.cat([deep, shallow], 1), weight, bias, padding=1),
            "there are negative values: is the ReLU missing?",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: F.conv2d(torch.cat([deep, shallow], 1), weight, bias).relu(),
            "the map shrinks: a 3x3 convolution needs padding=1 to keep h and w",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: _fused(deep, shallow, weight, torch.zeros(3)),
            "the bias is missing, and with it its gradient",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: F.conv2d(torch.cat([deep, shallow], 1).relu(), weight, bias, padding=1),
            "the ReLU comes after the convolution; before it, it would discard part of the taps",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: F.conv2d(deep + shallow, weight, bias, padding=1).relu(),
            "the weights expect 2C channels: concatenate the maps instead of adding them",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: F.conv2d(torch.cat([deep, shallow]), weight, bias, padding=1).relu(),
            "torch.cat joins along the batch by default; the channels are dim=1",
        ),
        Wrong(
            lambda deep, shallow, weight, bias: _fused(deep, deep, weight, bias),
            "the shallow map is not used: it is the tap that the block adds",
        ),
    ),
    otherwise="Concatenate deep with shallow along the channels, convolve with padding 1, set negative values to zero",
)


@torch.no_grad()
def _reached(layers: int) -> int:
    """How many pixels one vector of the deeper of two taps can change, through one fusion block of `layers` layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = ReconstructionDecoder([8, 8], [8, 8], 32, layers=layers)
        shallow, deep = torch.randn(32, 8, 8, 8), torch.randn(32, 8, 8, 8)  # (B, C, h, w)
        changed = deep.clone()
        changed[:, :, 4, 4] += torch.randn(32, 8)
    gap = decoder([shallow, changed]) - decoder([shallow, deep])  # (B, 3, H, W)
    return int((gap.abs() > 1e-7).any(1).any(0).sum())


check_reached_pixels = Prediction(
    task="How many pixels can one vector in the middle of the deeper tap change, through one fusion block of one layer "
    "and a head that writes 4x4 pixels for each vector: a number.",
    solved="reached pixels: right. A 3x3 layer reaches 3x3 vectors, and each writes 4x4 pixels",
    measure=lambda: _reached(layers=1),
    right=(144, 12 * 12, "144", torch.tensor(144.0)),
    wrong=(
        Wrong(16, "the head alone writes 4x4 pixels; the 3x3 convolution before it spreads the vector first"),
        Wrong(9, "those are the vectors that the convolution reaches; each of them writes 4x4 pixels"),
        Wrong(36, "the convolution reaches 3x3 vectors, in both directions, and each writes 4x4 pixels"),
        Wrong(400, "that is right for two layers; this block has one"),
        Wrong(1024, "the whole image would need more layers: a 3x3 layer reaches one vector further on each side"),
        Wrong(12, "12 is the side of the square; count its pixels"),
        Wrong(432, "count a pixel once, not once for each colour"),
    ),
    otherwise="First count the vectors that a 3x3 convolution reaches from one, then the pixels that each of them writes",
    tolerance=0.0,
)


# -- a fusion of one's own: answers, for the table

CHANNELS = 8


class _Net(nn.Module):
    """A fusion made of a few modules and a function of them."""

    def __init__(self, forward: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.compute = nn.ModuleList(parts), forward

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        return self.compute(deep, shallow, *self.parts)


def _conv(channels_in: int, channels: int, side: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, side, padding=side // 2, groups=groups)


def _pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 3, CHANNELS, 4, 4, generator=draw)
    return a.requires_grad_(), b.requires_grad_()


def _same_shape(build: Callable[[int], nn.Module]) -> bool:
    fused = build(CHANNELS)(*_pair())
    return isinstance(fused, Tensor) and fused.shape == (3, CHANNELS, 4, 4)


def _reads(build: Callable[[int], nn.Module], which: int) -> bool:
    """Whether the gradient of the result reaches map number `which`."""
    maps = _pair()
    fused = build(CHANNELS)(*maps)
    gradient = (
        torch.autograd.grad(fused.square().sum(), maps[which], allow_unused=True)[0] if fused.requires_grad else None
    )
    return gradient is not None and bool(gradient.abs().sum() > 0)


def _bends(build: Callable[[int], nn.Module]) -> bool:
    """Whether the module is more than linear: f(x + y) + f(0) is not f(x) + f(y).

    In evaluation mode: what dropout or the batch adds in training does not count.
    """
    net, (a, b), (c, d) = build(CHANNELS).eval(), _pair(), _pair(1)
    with torch.no_grad():
        return not torch.allclose(net(a + c, b + d) + net(0 * a, 0 * b), net(a, b) + net(c, d), atol=1e-4)


def _size(build: Callable[[int], nn.Module]) -> int:
    return sum(p.numel() for p in build(CHANNELS).parameters())


check_own_fusion = Open(
    task="`build(channels)` -> a module whose forward(deep, shallow) fuses two maps (B, C, h, w) into one of the same "
    "shape, bends, learns, reads both maps, and has fewer weights than the paper's fusion layer.",
    solved="own fusion: reads both maps, bends, learns, and is smaller than the paper's layer",
    right=(
        lambda c: _Net(lambda d, s, conv: conv(d + s).relu(), _conv(c, c, 3)),
        lambda c: _Net(lambda d, s, conv: conv(torch.cat([d, s], 1)).relu(), _conv(2 * c, c)),
        lambda c: _Net(lambda d, s, conv: conv(d + s).tanh(), nn.Conv2d(c, c, 1, bias=False)),
        lambda c: _Net(lambda d, s, gate: d + gate(d).sigmoid() * s, _conv(c, c)),
        lambda c: _Net(
            lambda d, s, mix, join: F.gelu(join(mix(torch.cat([d, s], 1)))),
            _conv(2 * c, 2 * c, 3, groups=2 * c),
            _conv(2 * c, c),
        ),
    ),
    rules=(
        Rule(
            lambda build: isinstance(build(CHANNELS), nn.Module),
            "give a class or a function that builds a torch module from the number of channels",
            (lambda c: lambda d, s: (d + s).relu(), lambda c: None),
        ),
        Rule(
            _same_shape,
            "the fused map needs the shape of each of the two: the next block takes it as its deep map",
            (lambda c: _Net(lambda d, s, conv: torch.cat([d, s], 1).relu(), _conv(c, c)),),
        ),
        Rule(
            lambda build: _reads(build, 0),
            "the deep map has no influence: what the deeper taps hold would be lost",
            (lambda c: _Net(lambda d, s, conv: conv(s).relu(), _conv(c, c)),),
        ),
        Rule(
            lambda build: _reads(build, 1),
            "the shallow map has no influence: then this is `single`, without a skip connection",
            (
                lambda c: _Net(lambda d, s, conv: conv(d).relu(), _conv(c, c)),
                lambda c: _Net(lambda d, s, conv: (conv(d) + s.detach()).relu(), _conv(c, c)),
            ),
        ),
        Rule(
            _bends,
            "this map is linear, and several linear maps in a row are one linear map: something has to bend",
            (
                lambda c: _Net(lambda d, s, conv: conv(torch.cat([d, s], 1)), _conv(2 * c, c)),
                lambda c: _Net(lambda d, s, conv, drop: drop(conv(d + s)), _conv(c, c), nn.Dropout(0.1)),
                lambda c: _Net(lambda d, s, conv, norm: norm(conv(d + s)), _conv(c, c), nn.BatchNorm2d(c)),
            ),
        ),
        Rule(
            lambda build: _size(build) > 0,
            "there is nothing to learn: give the module weights",
            (lambda c: _Net(lambda d, s: (d + s).relu()),),
        ),
        Rule(
            lambda build: _size(build) < 18 * CHANNELS**2,
            "no saving: the paper's layer has 18 C^2 weights. Add instead of concatenating, or use 1x1 or depthwise "
            "convolutions",
            (lambda c: _Net(lambda d, s, conv: conv(torch.cat([d, s], 1)).relu(), _conv(2 * c, c, 3)),),
        ),
    ),
)
