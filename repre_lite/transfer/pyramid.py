"""A pyramid of feature maps for detection: of a Swin's stages, or of a ViT's last map (Li et al., ECCV 2022)."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from ..frameworks.base import at_least_fp32
from ..runtime import distributed
from ..runtime.errors import UserError
from .backbone import DenseBackbone

SCALES = (4, 2, 1, 0.5)  # of a ViT's patch grid


class Pyramid(nn.Module):
    """Maps (B, out_channels, h_i, w_i) of falling resolution, as torchvision's detectors take them.

    A Swin's stages, each normalised, pass through torchvision's feature pyramid network. A ViT has one resolution; its
    last map is enlarged four times and twice, kept, and halved, as in ViTDet's simple feature pyramid, without levels finer
    than the image. Unlike there, its channels are standardised first, over the batch in training: a contrastive encoder
    adds one large vector to all patches, which would hide their differences. One more level is the coarsest, subsampled by two. `strides`: side of a cell of each level in pixels.
    Raises UserError for patches whose side is no power of two, which torchvision's pooling would misplace.
    """

    def __init__(self, backbone: DenseBackbone, width: int) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, width
        self.compute: torch.dtype | None = None  # what autocast computes in, if the caller switches it off around this
        patch = backbone.strides[0]
        if patch & (patch - 1):
            raise UserError(
                f"patch_size={patch}: detection needs patches of 2, 4, 8, 16 ... pixels; choose another encoder"
            )
        if backbone.hierarchical:
            self.norms = nn.ModuleList(LayerNorm2d(channels) for channels in backbone.widths)
            self.network = FeaturePyramidNetwork(list(backbone.widths), width)
            strides = list(backbone.strides)
        else:
            self.standardise = distributed.BatchNorm2d(backbone.widths[-1], affine=False)
            scales = [scale for scale in SCALES if patch >= scale]
            self.levels = nn.ModuleList(_level(backbone.widths[-1], width, scale) for scale in scales)
            strides = [int(patch / scale) for scale in scales]
        self.strides = (*strides, 2 * strides[-1])

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Normalised `images` (B, 3, H, W) -> the levels from fine to coarse, by number; in fp32, whatever they are
        computed in: torchvision takes the number format of its boxes from them."""
        half = torch.autocast(images.device.type, self.compute) if self.compute is not None else nullcontext()
        with half:
            levels = self._levels(images)
        return OrderedDict((str(i), at_least_fp32(y)) for i, y in enumerate(levels))

    def _levels(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(images)
        if self.backbone.hierarchical:
            named = OrderedDict((str(i), norm(y)) for i, (norm, y) in enumerate(zip(self.norms, maps, strict=True)))
            levels = list(self.network(named).values())
        else:
            last = self.standardise(maps[-1])
            levels = [level(last) for level in self.levels]
        return [*levels, F.max_pool2d(levels[-1], 1, stride=2)]


def _level(inside: int, width: int, scale: float) -> nn.Sequential:
    """One level of ViTDet's simple feature pyramid: (B, inside, h, w) -> (B, width, scale h, scale w)."""
    layers: list[nn.Module] = []
    channels = inside
    if scale == 4:
        layers += [nn.ConvTranspose2d(channels, channels // 2, 2, stride=2), LayerNorm2d(channels // 2), nn.GELU()]
        channels //= 2
    if scale >= 2:
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels //= 2
    if scale < 1:
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Conv2d(channels, width, 1, bias=False), LayerNorm2d(width)]
    layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), LayerNorm2d(width)]
    return nn.Sequential(*layers)
