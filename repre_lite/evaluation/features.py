"""Pooled features of images, extracted once and shared by k-NN, linear probe and embedding map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.files import FileImages
from ..encoder import TappedEncoder
from ..runtime import distributed
from ..runtime.errors import UserError
from ..runtime.modes import evaluating
from .class_tokens import last_class_tokens


@torch.no_grad()
def extract(
    encoder: TappedEncoder,
    images: Tensor | FileImages,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 256,
    blocks: int | None = None,
    patches: bool = False,
) -> Tensor:
    """Pooled features (B, C) in fp32, on the encoder's device, in evaluation mode and without augmentation.

    With `blocks`, instead, the class tokens of the last `blocks` blocks, and `patches`: see `last_class_tokens`.

    Args:
        encoder: every part of it is left in the mode (training or evaluation) it was in.
        images: uint8 (B, 3, H, W), or image files; cropped or resized by `at_size`.
        mean, std: one number per colour in [0, 1], as in training.
        batch_size: images per forward pass; bounds memory only.
    """
    weight = next(encoder.parameters())
    scale = torch.tensor(std, device=weight.device, dtype=weight.dtype).view(3, 1, 1)
    shift = torch.tensor(mean, device=weight.device, dtype=weight.dtype).view(3, 1, 1)
    features = []
    with evaluating(encoder):
        for part in images.split(batch_size):
            x = at_size(part.to(weight.device), encoder.image_size, weight.dtype)  # (B, 3, size, size); moved as bytes
            x = (x - shift) / scale
            features.append(read(encoder, x, blocks, patches))
    return torch.cat(features).float()


def read(encoder: TappedEncoder, x: Tensor, blocks: int | None = None, patches: bool = False) -> Tensor:
    """What a probe reads of normalised images `x` (B, 3, H, W): the pooled feature, or, with `blocks`, class tokens."""
    if blocks is None:
        return encoder(x, taps=False).pooled  # type: ignore[no-any-return]
    return last_class_tokens(encoder.backbone, x, blocks, patches)


def extract_shared(
    encoder: TappedEncoder,
    images: Tensor | FileImages,
    mean: Sequence[float],
    std: Sequence[float],
    blocks: int | None = None,
    patches: bool = False,
) -> Tensor:
    """`extract`, split over all processes. Every process must call it and gets all features (B, C)."""
    rows = distributed.share(len(images))
    part = images.only(rows) if isinstance(images, FileImages) else images[rows.start : rows.stop]
    features = extract(encoder, part, mean, std, blocks=blocks, patches=patches)
    return distributed.gather_shares(features, len(images), features.device)


def at_size(images: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (B, 3, H, W) -> (B, 3, size, size) in [0, 1], as an encoder sees images outside of training.

    Square images up to 8/7 of `size` are centre-cropped (256 to 224); all others are resized, bilinear and antialiased.
    Raises UserError for images of floats, which may be in [0, 1] already.
    """
    if images.is_floating_point():
        raise UserError(f"images of {images.dtype}: give uint8, 0 to 255, such as (255 * images).round().byte()")
    x = images.to(dtype) / 255
    height, width = x.shape[-2:]
    if size < height == width <= -(-size * 8 // 7):
        edge = round((height - size) / 2)  # as torchvision's CenterCrop
        return x[:, :, edge : edge + size, edge : edge + size]
    if (height, width) != (size, size):
        return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return x
