"""The light reconstruction decoder (section 3.3, figure 2): taps in, the reconstructed image out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import autocast_on, check_tapped, is_hierarchical, no_taps, unwrap
from .encoder import TappedEncoder
from .initialise import DECODER_INITS, he_initialise, truncated_normal
from .runtime.errors import UserError

FUSIONS = ("conv", "transformer")
MODES = ("multi", "single")
WIDTHS = ("light", "full")


def conv_fusion(channels_in: int, channels: int, layers: int) -> nn.Sequential:
    """N fusion layers, each a 3x3 convolution and a ReLU (section 3.3); the first maps `channels_in` to `channels`."""
    widths = [channels_in] + [channels] * layers
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        modules += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


class TransformerFusion(nn.Module):
    """Table 5's alternative: a 1x1 convolution to `channels`, then N transformer blocks of the encoder's kind.

    `window` None means global attention (ViT's block), else attention in shifted windows of that size (Swin's block).
    """

    def __init__(self, channels_in: int, channels: int, layers: int, grid: int, heads: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.project = nn.Conv2d(channels_in, channels, kernel_size=1)
        if window is None:
            self.blocks = nn.Sequential(*[Block(channels, heads, qkv_bias=True) for _ in range(layers)])
        else:
            shifts = [0 if index % 2 == 0 else window // 2 for index in range(layers)]
            self.blocks = nn.Sequential(
                *[
                    SwinTransformerBlock(channels, (grid, grid), heads, window_size=window, shift_size=shift)
                    for shift in shifts
                ]
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, h, w) -> (B, channels, h, w)."""
        x = self.project(x).permute(0, 2, 3, 1)  # (B, h, w, C)
        if self.window is None:
            h, w = x.shape[1:3]
            x = self.blocks(x.flatten(1, 2)).unflatten(1, (h, w))  # (B, h*w, C) inside, (B, h, w, C) out
        else:
            x = self.blocks(x)
        return x.permute(0, 3, 1, 2)  # (B, C, h, w)


class FusionBlock(nn.Module):
    """Concatenate the deep map with the shallower tap, then fuse (figure 2). Without a tap only the fusion remains."""

    def __init__(self, fusion: nn.Module, grid: int) -> None:
        super().__init__()
        self.fusion = fusion
        self.grid = grid

    def forward(self, deep: Tensor, shallow: Tensor | None = None) -> Tensor:
        """`deep` (B, C_deep, h', w'), `shallow` (B, C_shallow, h, w) or None -> (B, C, h, w)."""
        if deep.shape[-2:] != (self.grid, self.grid):  # Swin: the deep map is coarser (section 3.3)
            deep = F.interpolate(deep, size=(self.grid, self.grid), mode="bilinear", align_corners=False)
        x = deep if shallow is None else torch.cat([deep, shallow], dim=1)  # (B, C_deep + C_shallow, h, w)
        fused: Tensor = self.fusion(x)
        return fused


class ReconstructionDecoder(nn.Module):
    """Fuses K taps from deep to shallow in K - 1 blocks and reconstructs the image, (B, 3, H, W) (section 3.3).

    `tap_widths`, `tap_grids`: channels and side of each tap, shallow to deep; `image_size`: H = W in pixels.
    `fusion`: "conv" (default) or "transformer"; `layers`: fusion layers per block (the paper's 2).
    `width`: channels inside, reached through 1x1 laterals; None for the encoder's own widths, the literal reading of
    section 3.3, which prints the concatenation as 2C.
    `mode`: "multi" uses every tap; "single" only the deepest, in the same blocks without concatenation (table 4).
    `init`: "he" or "torch", see `initialise`.
    The output is linear: clip it to [0, 1] for display only. Raises UserError for values that do not fit together.
    """

    def __init__(
        self,
        tap_widths: Sequence[int],
        tap_grids: Sequence[int],
        image_size: int,
        fusion: str = "conv",
        layers: int = 2,
        width: int | None = None,
        mode: str = "multi",
        head_width: int = 32,
        window: int | None = None,
        init: str = "he",
    ) -> None:
        super().__init__()
        for name, value, allowed in (("fusion", fusion, FUSIONS), ("mode", mode, MODES), ("init", init, DECODER_INITS)):
            if value not in allowed:
                raise UserError(f"{name}={value}: choose one of {', '.join(allowed)}")
        if not hasattr(layers, "__index__") or layers < 1:
            raise UserError(f"layers={layers}: give a whole number of fusion layers, 1 or more")
        if width is not None and (not hasattr(width, "__index__") or width < 1):
            raise UserError(f"width={width}: give a whole number of channels, 1 or more")
        if image_size % tap_grids[0]:
            raise UserError(f"image_size={image_size} is not a multiple of the first tap's grid, {tap_grids[0]}")
        self.mode, self.image_size = mode, image_size
        self.tap_shapes = [(c, side, side) for c, side in zip(tap_widths, tap_grids, strict=True)]
        widths = list(tap_widths) if width is None else [width] * len(tap_widths)
        read = len(widths) if mode == "multi" else 1  # how many taps are read, counted from the deepest
        self.laterals = nn.ModuleList(
            nn.Identity() if width is None else nn.Conv2d(channels, width, kernel_size=1)
            for channels in tap_widths[-read:]
        )
        blocks = []
        for level in reversed(range(len(widths) - 1)):  # from the second deepest tap to the shallowest
            channels = widths[level]
            channels_in = widths[level + 1] + (channels if mode == "multi" else 0)
            if fusion == "conv":
                layer: nn.Module = conv_fusion(channels_in, channels, layers)
            else:
                heads = _heads(channels, head_width)
                layer = TransformerFusion(channels_in, channels, layers, tap_grids[level], heads, window)
            blocks.append(FusionBlock(layer, tap_grids[level]))
        self.blocks = nn.ModuleList(blocks)
        self.patch = image_size // tap_grids[0]  # pixels each vector of the last map takes charge of
        self.head = nn.Conv2d(widths[0], 3 * self.patch**2, kernel_size=1)
        if init == "he":
            self.initialise(fusion)

    @classmethod
    def for_encoder(
        cls,
        encoder: TappedEncoder,
        fusion: str = "conv",
        layers: int = 2,
        width: int | str | None = None,
        mode: str = "multi",
        init: str = "he",
    ) -> ReconstructionDecoder:
        """The decoder whose inputs are this encoder's taps and whose output has its image size.

        `width` may also be "light", see `light_width`, or "full", which is None.
        """
        check_tapped(encoder)
        if isinstance(width, str):
            if width not in WIDTHS:
                raise UserError(f"width={width}: give {', '.join(WIDTHS)} or a number of channels")
            width = light_width(encoder) if width == "light" else None
        head_width, window = attention_shape(encoder)
        shapes = encoder.tap_widths, encoder.tap_grids, encoder.image_size
        return cls(*shapes, fusion, layers, width, mode, head_width, window, init)

    def initialise(self, fusion: str) -> None:
        """He's initialisation for what a ReLU follows, so that every tap receives gradient from the first step.

        With PyTorch's default, a variance of 1 / (3 fan-in), every layer loses five sixths of the signal's variance:
        the deepest tap, six layers away, starts with about a hundredth of the shallowest tap's gradient, and `single`
        far below `multi`.
        Transformer blocks start as the encoder's do. The 1x1 convolutions, which no ReLU follows, keep PyTorch's, as
        the encoder's patch projection does.
        """
        if fusion == "conv":
            he_initialise(self.blocks)
        else:
            truncated_normal(self.blocks)

    def stages(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """The map after each of the K - 1 fusion blocks, deep to shallow, each (B, C_i, h_i, w_i)."""
        taps = tuple(taps)
        if not all(isinstance(tap, Tensor) for tap in taps):
            raise UserError(
                "the decoder reads K maps (B, C, h, w); give it the taps of encode's features, features.taps"
            )
        weight = self.head.weight
        if not autocast_on(weight):  # a Swin's maps are in a half format after an autocast
            taps = tuple(tap.to(weight.dtype) for tap in taps)
        given = [tuple(tap.shape[1:]) for tap in taps]
        deepest = self.mode == "single" and given == self.tap_shapes[-1:]  # then the others need not be there
        if given != self.tap_shapes and not deepest:
            raise UserError(
                f"the decoder is built for {len(self.tap_shapes)} taps of shapes {self.tap_shapes} (C, h, w) and is "
                f"given {len(given)} of shapes {given}; give those of images of {self.image_size} x {self.image_size} pixels, "
                "tapped where the decoder was built to read"
            )
        levels = [lateral(tap) for lateral, tap in zip(self.laterals, taps[-len(self.laterals) :], strict=True)]
        deep = levels.pop()
        maps = []
        for block in self.blocks:
            deep = block(deep, levels.pop() if levels else None)
            maps.append(deep)
        return maps

    def draw(self, fused: Tensor) -> Tensor:
        """The 1x1 head: every vector of the last map (B, C, h, w) predicts its own P x P pixels -> (B, 3, H, W)."""
        return F.pixel_shuffle(self.head(fused), self.patch)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """K taps (B, C_i, h_i, w_i), shallow to deep -> the reconstruction (B, 3, H, W)."""
        return self.draw(self.stages(taps)[-1])


def light_width(encoder: TappedEncoder) -> int:
    """The width at which two fusion layers cost about what the paper reports, 4 % of a step (section 4.1).

    A third of a ViT's width, two thirds of a Swin's first stage, rounded down to a multiple of 8. This deviates from the
    width the paper prints (2C after the concatenation, section 3.3), at which the branch costs 20 % and more
    (results/overhead.json).
    """
    channels = encoder.tap_widths[0]
    channels = 2 * channels // 3 if is_hierarchical(encoder.backbone) else channels // 3
    return max(8, channels // 8 * 8)


def attention_shape(encoder: TappedEncoder) -> tuple[int, int | None]:
    """The width of the encoder's attention heads in its first block, and the side of a Swin's windows (a ViT: None)."""
    backbone: Any = unwrap(encoder.backbone)
    heads = next((module.num_heads for module in backbone.modules() if hasattr(module, "num_heads")), None)
    windows = (module.window_size[0] for module in backbone.modules() if hasattr(module, "window_size"))
    window = next(windows, None) if is_hierarchical(backbone) else None
    if heads is None or (window is None and is_hierarchical(backbone)):  # a relative: PiT, PVT, NesT ...
        raise no_taps(backbone)
    return backbone.feature_info[0]["num_chs"] // heads, window


def _heads(channels: int, head_width: int) -> int:
    """The number of attention heads nearest to the encoder's head width that divides `channels`."""
    heads = max(1, channels // head_width)
    while channels % heads:
        heads -= 1
    return heads
