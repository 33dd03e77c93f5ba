"""Pooled features of pictures, extracted once and used by k-NN, probe and embedding map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..encoder import TappedEncoder


@torch.no_grad()
def extract(
    encoder: TappedEncoder,
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 256,
) -> Tensor:
    """Pooled features (n, C) in fp32 on the encoder's device, in evaluation mode, without augmentation.

    `images` uint8 (n, 3, H, W); resized to the encoder's picture size where they differ; `mean`, `std` as in training.
    """
    weight = next(encoder.parameters())
    scale = torch.tensor(std, device=weight.device, dtype=weight.dtype).view(3, 1, 1)
    shift = torch.tensor(mean, device=weight.device, dtype=weight.dtype).view(3, 1, 1)
    training = encoder.training
    encoder.eval()
    features = []
    for part in images.split(batch_size):
        x = part.to(weight.device, weight.dtype) / 255  # (B, 3, H, W)
        if x.shape[-1] != encoder.image_size or x.shape[-2] != encoder.image_size:
            x = F.interpolate(x, size=(encoder.image_size,) * 2, mode="bilinear", antialias=True, align_corners=False)
        features.append(encoder((x - shift) / scale, taps=False).pooled.float())
    encoder.train(training)
    return torch.cat(features)
