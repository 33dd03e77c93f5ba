"""Segmentation heads: SETR's three for a ViT (Zheng et al., CVPR 2021), UPerNet's for a Swin (Xiao et al., ECCV 2018).

Each takes the K taps (B, C_i, h_i, w_i) and returns logits (B, classes, h, w) at a resolution of its own. UPerNet is the
pyramid head because Swin's and MoBY's published segmentation results are measured with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.distributed import BatchNorm2d

POOLED = (1, 2, 3, 6)  # grid sides of UPerNet's pyramid pooling


def convolution(inside: int, outside: int, kernel: int) -> nn.Sequential:
    """Convolution, batch normalisation over all processes, ReLU: (B, inside, h, w) -> (B, outside, h, w)."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False), BatchNorm2d(outside), nn.ReLU()
    )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear: (B, C, h, w) -> (B, C, *size)."""
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


class Naive(nn.Module):
    """SETR-Naive: two 1x1 convolutions on one map; logits (B, classes, h, w) at the map's resolution.

    The auxiliary heads are of this kind too. `index`: which tap it reads, the last by default.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int, index: int = -1) -> None:
        super().__init__()
        self.index = index
        self.norm = LayerNorm2d(widths[index])
        self.layers = nn.Sequential(convolution(widths[index], width, 1), nn.Conv2d(width, classes, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """K taps (B, C_i, h_i, w_i) -> logits (B, classes, h, w)."""
        logits: Tensor = self.layers(self.norm(maps[self.index]))
        return logits


class PUP(nn.Module):
    """SETR-PUP, progressive upsampling of the last tap: a 3x3 convolution before each doubling, up to the image's size.

    `stride`: side of a patch in pixels, which sets the number of doublings: 4 for 16 pixels, as published.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int, stride: int) -> None:
        super().__init__()
        doublings = max(1, round(math.log2(stride)))
        self.norm = LayerNorm2d(widths[-1])
        self.layers = nn.ModuleList(convolution(widths[-1] if i == 0 else width, width, 3) for i in range(doublings))
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """K taps (B, C_i, h_i, w_i) -> logits (B, classes, h, w)."""
        x = self.norm(maps[-1])
        for layer in self.layers:
            x = layer(x)
            x = resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))
        logits: Tensor = self.classify(x)  # (B, classes, 2^n h, 2^n w)
        return logits


class MLA(nn.Module):
    """SETR-MLA, multi-level aggregation: all taps, summed from deep to shallow, enlarged four times and concatenated.

    Section 3.3 of the paper: 1x1 to `width`, sum over the deeper taps, 3x3; then two 3x3 to half of it, up to four times
    the patch grid (at most the image's size), concatenation.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int, stride: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.factor = min(4, stride)
        self.norms = nn.ModuleList(LayerNorm2d(channels) for channels in widths)
        self.reduce = nn.ModuleList(convolution(channels, width, 1) for channels in widths)
        self.mix = nn.ModuleList(convolution(width, width, 3) for _ in widths)
        self.streams = nn.ModuleList(
            nn.Sequential(convolution(width, half, 3), convolution(half, half, 3)) for _ in widths
        )
        self.classify = nn.Conv2d(half * len(widths), classes, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """K taps (B, C_i, h_i, w_i) -> logits (B, classes, h, w)."""
        reduced = [reduce(norm(y)) for reduce, norm, y in zip(self.reduce, self.norms, maps, strict=True)]
        for i in range(len(reduced) - 2, -1, -1):  # from deep to shallow
            reduced[i] = reduced[i] + reduced[i + 1]
        height, width = (self.factor * side for side in maps[0].shape[-2:])
        streams = [
            resize(stream(mix(y)), (height, width))  # (B, width / 2, 4h, 4w)
            for stream, mix, y in zip(self.streams, self.mix, reduced, strict=True)
        ]
        logits: Tensor = self.classify(torch.cat(streams, dim=1))  # (B, classes, 4h, 4w)
        return logits


class UPerNet(nn.Module):
    """UPerNet on a feature pyramid: pyramid pooling of the deepest map, top-down sums, all levels fused at the finest.

    Logits (B, classes, h_1, w_1) at the resolution of the first map.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(channels) for channels in widths)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), convolution(widths[-1], width, 1)) for side in POOLED
        )
        self.deepest = convolution(widths[-1] + len(POOLED) * width, width, 3)
        self.lateral = nn.ModuleList(convolution(channels, width, 1) for channels in widths[:-1])
        self.smooth = nn.ModuleList(convolution(width, width, 3) for _ in widths[:-1])
        self.fuse = convolution(len(widths) * width, width, 3)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """K taps (B, C_i, h_i, w_i) -> logits (B, classes, h, w)."""
        maps = [norm(y) for norm, y in zip(self.norms, maps, strict=True)]
        pooled = [resize(pool(maps[-1]), _size(maps[-1])) for pool in self.pools]
        levels = [lateral(y) for lateral, y in zip(self.lateral, maps[:-1], strict=True)]
        levels.append(self.deepest(torch.cat([maps[-1], *pooled], dim=1)))
        for i in range(len(levels) - 2, -1, -1):  # from deep to shallow
            levels[i] = levels[i] + resize(levels[i + 1], _size(levels[i]))
        smoothed = [smooth(y) for smooth, y in zip(self.smooth, levels[:-1], strict=True)] + [levels[-1]]
        fused = self.fuse(torch.cat([resize(y, _size(levels[0])) for y in smoothed], dim=1))  # (B, width, h_1, w_1)
        logits: Tensor = self.classify(fused)
        return logits


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
