"""Pooled features of pictures, extracted once and used by k-NN, probe and embedding map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.files import FileImages
from ..encoder import TappedEncoder


@torch.no_grad()
def extract(
    encoder: TappedEncoder,
    images: Tensor | FileImages,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 256,
) -> Tensor:
    """Pooled features (n, C) in fp32 on the encoder's device, in evaluation mode, without augmentation.

    `images` uint8 (n, 3, H, W) or files; where they are up to 8/7 of the encoder's picture size their centre is cut out
    (256 to 224), else they are resized; `mean`, `std` as in training.
    """
    weight = next(encoder.parameters())
    scale = torch.tensor(std, device=weight.device, dtype=weight.dtype).view(3, 1, 1)
    shift = torch.tensor(mean, device=weight.device, dtype=weight.dtype).view(3, 1, 1)
    training = encoder.training
    encoder.eval()
    features = []
    for part in images.split(batch_size):
        x = part.to(weight.device, weight.dtype) / 255  # (B, 3, H, W)
        height, width, size = x.shape[-2], x.shape[-1], encoder.image_size
        if size < height == width <= -(-size * 8 // 7):
            edge = (height - size) // 2
            x = x[:, :, edge : edge + size, edge : edge + size]
        elif (height, width) != (size, size):
            x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        features.append(encoder((x - shift) / scale, taps=False).pooled.float())
    encoder.train(training)
    return torch.cat(features)
