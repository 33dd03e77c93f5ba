"""Crop boxes, and resizing and blurring as one small matrix for each side."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .view import View

Side = int | Tensor  # height or width in pixels, of all images or (B,) of each


def sample_boxes(areas: Tensor, ratios: Tensor, places: Tensor, view: View, height: Side, width: Side) -> Tensor:
    """torchvision's RandomResizedCrop: ten attempts at an area and a ratio, else the largest central crop that fits.

    `areas`, `ratios` (B, 10) and `places` (B, 2) in [0, 1); `height`, `width` of the images in pixels, numbers or (B,)
    -> boxes top, left, height, width in pixels, int64 (B, 4).
    """
    height, width = (
        side[:, None] if isinstance(side, Tensor) else torch.full((len(areas), 1), side, device=areas.device)
        for side in (height, width)
    )  # (B, 1)
    area = height * width * (view.scale[0] + (view.scale[1] - view.scale[0]) * areas)  # (B, 10)
    low, high = math.log(view.ratio[0]), math.log(view.ratio[1])
    ratio = (low + (high - low) * ratios).exp()
    w, h = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)  # the first attempt that fits
    w, h, fits = (x.gather(1, first)[:, 0] for x in (w, h, fits))  # (B,)
    height, width = height[:, 0], width[:, 0]  # (B,)
    w = torch.where(fits, w, (height * view.ratio[1]).round().long().minimum(width))
    h = torch.where(fits, h, (width / view.ratio[0]).round().long().minimum(height))
    room = torch.stack([height - h, width - w], dim=1)  # (B, 2)
    drawn = (places * (room + 1)).long().minimum(room)  # a product may round up to a whole pixel
    return torch.cat([torch.where(fits[:, None], drawn, room // 2), h[:, None], w[:, None]], dim=1)


def both_sides(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    """rows @ x @ columns^T for every channel: (B, h, H), (B, 3, H, W), (B, w, W) -> (B, 3, h, w)."""
    batch, channels, height, width = x.shape
    x = torch.bmm(x.reshape(batch, channels * height, width), columns.transpose(1, 2))  # (B, 3*H, w)
    return torch.matmul(rows[:, None], x.unflatten(1, (channels, height)))  # (B, 3, h, w)


def resize_matrix(
    start: Tensor,
    length: Tensor,
    side: int,
    size: int,
    interpolation: str,
    dtype: torch.dtype,
    mirrored: Tensor | None = None,
) -> Tensor:
    """The antialiased resize of pixels `start` to `start + length` of `side` to `size` pixels, (B, size, side).

    The filter is widened where the crop shrinks; pixels outside the crop do not count, as if it had been cut out first.
    `mirrored` bool (B,) turns the result round.
    """
    start, length = start.to(dtype)[:, None, None], length.to(dtype)[:, None, None]  # (B, 1, 1)
    place = torch.arange(size, device=start.device, dtype=dtype)[:, None] + 0.5  # (size, 1)
    if mirrored is not None:
        place = torch.where(mirrored[:, None, None], size - place, place)  # (B, size, 1)
    stretch = length / size  # source pixels for one of the view's
    pixel = torch.arange(side, device=start.device, dtype=dtype) + 0.5  # (side,)
    pixel = torch.where((pixel > start) & (pixel < start + length), pixel, math.inf)  # (B, 1, side)
    distance = (pixel - (start + place * stretch)).abs_().mul_(1 / stretch.clamp(min=1))  # (B, size, side)
    weight = cubic(distance) if interpolation == "bicubic" else 1 - distance.clamp_(max=1)
    return weight.div_(weight.sum(2, keepdim=True))


def cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5, as PIL and torch's antialiased resize use it: a piece up to 1, a piece up to 2.

    Both are 0 at their ends, so that clamping does the choosing.
    """
    near, far = distance.clamp(max=1), distance.clamp(1, 2)
    return ((1.5 * near - 2.5) * near * near + 1) + (((-0.5 * far + 2.5) * far - 4) * far + 2)


def blur_matrix(sigmas: Tensor, size: int, widest: float) -> Tensor:
    """Gaussian blur along one side, (B, size, size), edges reflected; the identity where sigma is 0.

    The kernel reaches four of the `widest` sigmas, so that nothing is cut off, as PIL's blur and SimCLR's kernel of a
    tenth of 224 pixels have it, and never further than the reflection.
    """
    radius = min(size - 1, math.ceil(4 * widest))
    offsets = torch.arange(-radius, radius + 1, device=sigmas.device)
    kernel = (-0.5 * (offsets / sigmas.clamp(min=0.05)[:, None]).square()).exp()  # (B, 2r+1)
    kernel = kernel / kernel.sum(1, keepdim=True)
    place = torch.arange(size, device=sigmas.device)
    last = size - 1
    source = last - (last - (place[:, None] + offsets[:, None, None]).abs()).abs()  # (2r+1, size, 1), reflected
    taken = (source == place).to(sigmas.dtype)  # (2r+1, size, size)
    return (kernel @ taken.flatten(1)).view(-1, size, size)
