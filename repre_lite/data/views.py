"""Batched augmentation on the device: uint8 pictures in, views in [0, 1] out, each picture with its own parameters.

One static form serves every device: no shape and no branch depends on the data. A crop with its resize, and a blur, are
each two small matrices per picture, one for rows and one for columns; a flip mirrors the columns' matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..runtime.randomness import uniform
from .jitter import grey, jitter

ATTEMPTS = 10  # of torchvision's RandomResizedCrop before it falls back to a central crop
CHUNK = 32  # pictures at a time on a CPU: what is worked on stays in cache


@dataclass(frozen=True)
class View:
    """How one view is made. `size` in pixels; `scale` the crop's share of the area, `ratio` its width by height;
    `jitter` strengths of brightness, contrast, saturation, hue; the rest probabilities; `blur_sigma` in pixels."""

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    jitter_p: float = 0.8
    grey: float = 0.2
    blur: float = 1.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class ViewParameters:
    """What was drawn for B pictures: `boxes` (B, 4) top, left, height, width in pixels; `flips` (B,) bool; jitter
    `factors` (B, 3), hue `shift` (B,), `order` (B, 4); `greys` (B,) bool; `sigmas` (B,), 0 for no blur; `solarised`
    (B,) bool."""

    boxes: Tensor
    flips: Tensor
    factors: Tensor
    shift: Tensor
    order: Tensor
    greys: Tensor
    sigmas: Tensor
    solarised: Tensor


class Views:
    """Makes every view of a batch; `seed` and the step and row of a picture decide all its draws."""

    def __init__(self, views: tuple[View, ...], seed: int) -> None:
        self.views = views
        self.seed = seed

    def __call__(self, pictures: Tensor, step: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """`pictures` uint8 (B, 3, H, W), `rows` int64 (B,) of the global batch -> a (B, 3, size, size) for each view."""
        parameters = self.parameters(step, rows, pictures.shape[2], pictures.shape[3], dtype)
        return [apply(view, pictures, drawn) for view, drawn in zip(self.views, parameters, strict=True)]

    def parameters(
        self, step: int, rows: Tensor, height: int, width: int, dtype: torch.dtype = torch.float32
    ) -> list[ViewParameters]:
        """What is drawn for each view of pictures of height x width pixels."""
        return [draw(view, self.seed, step, rows, index, height, width, dtype) for index, view in enumerate(self.views)]


def draw(
    view: View, seed: int, step: int, rows: Tensor, purpose: int, height: int, width: int, dtype: torch.dtype
) -> ViewParameters:
    """Every random number of one view of a batch."""
    u = uniform(seed, step, rows, purpose, 3 * ATTEMPTS + 20, dtype)  # (B, ...)
    boxes = sample_boxes(u[:, : 2 * ATTEMPTS], u[:, 2 * ATTEMPTS : 2 * ATTEMPTS + 2], view, height, width)
    u = u[:, 2 * ATTEMPTS + 2 :]
    strength = u.new_tensor(view.jitter)
    jittered = (u[:, 0:1] < view.jitter_p).to(dtype)  # (B, 1)
    spread = (2 * u[:, 1:5] - 1) * strength * jittered  # (B, 4)
    lowest, highest = view.blur_sigma
    sigmas = (lowest + (highest - lowest) * u[:, 9]) * (u[:, 10] < view.blur)
    return ViewParameters(
        boxes=boxes,
        flips=u[:, 11] < view.flip,
        factors=1 + spread[:, :3],
        shift=spread[:, 3],
        order=u[:, 5:9].argsort(1),
        greys=u[:, 12] < view.grey,
        sigmas=sigmas,
        solarised=u[:, 13] < view.solarise,
    )


def sample_boxes(u: Tensor, place: Tensor, view: View, height: int, width: int) -> Tensor:
    """torchvision's RandomResizedCrop: ten attempts at an area and a ratio, else the largest central crop that fits.

    `u` (B, 20) and `place` (B, 2) in [0, 1) -> integer boxes top, left, height, width, int64 (B, 4).
    """
    area = height * width * (view.scale[0] + (view.scale[1] - view.scale[0]) * u[:, :ATTEMPTS])  # (B, 10)
    low, high = math.log(view.ratio[0]), math.log(view.ratio[1])
    ratio = (low + (high - low) * u[:, ATTEMPTS:]).exp()
    w, h = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.long().argmax(1, keepdim=True)  # the first attempt that fits
    w, h, fits = (x.gather(1, first)[:, 0] for x in (w, h, fits))
    central = width / height
    central_w = width if central <= view.ratio[1] else round(height * view.ratio[1])
    central_h = height if central >= view.ratio[0] else round(width / view.ratio[0])
    top, left = ((p * (side + 1)).long() for p, side in ((place[:, 0], height - h), (place[:, 1], width - w)))
    top, h = torch.where(fits, top, (height - central_h) // 2), torch.where(fits, h, central_h)
    left, w = torch.where(fits, left, (width - central_w) // 2), torch.where(fits, w, central_w)
    return torch.stack([top, left, h, w], dim=1)


def apply(view: View, pictures: Tensor, drawn: ViewParameters) -> Tensor:
    """`pictures` uint8 (B, 3, H, W) -> the view (B, 3, size, size) in [0, 1], in the type of `drawn`."""
    if pictures.device.type != "cpu" or len(pictures) <= CHUNK:
        return _apply(view, pictures, drawn)
    fields = vars(drawn)
    return torch.cat(
        [
            _apply(view, pictures[i : i + CHUNK], ViewParameters(**{k: v[i : i + CHUNK] for k, v in fields.items()}))
            for i in range(0, len(pictures), CHUNK)
        ]
    )


def _apply(view: View, pictures: Tensor, drawn: ViewParameters) -> Tensor:
    dtype = drawn.factors.dtype
    top, left, h, w = drawn.boxes.unbind(1)
    rows = resize_matrix(top, h, pictures.shape[2], view.size, view.interpolation, dtype)  # (B, size, H)
    columns = resize_matrix(left, w, pictures.shape[3], view.size, view.interpolation, dtype)  # (B, size, W)
    columns = torch.where(drawn.flips[:, None, None], columns.flip(1), columns)
    x = both_sides(rows, pictures.to(dtype), columns).mul_(1 / 255)  # (B, 3, size, size)
    if view.interpolation == "bicubic":
        x = x.clamp_(0, 1)  # bicubic overshoots
    if view.jitter_p > 0:
        x = jitter(x, drawn.factors, drawn.shift, drawn.order)
    if view.grey > 0:
        x = torch.where(drawn.greys[:, None, None, None], grey(x), x)
    if view.blur > 0:
        matrix = blur_matrix(drawn.sigmas, view.size)  # (B, size, size)
        x = both_sides(matrix, x, matrix)
    if view.solarise > 0:
        x = torch.where(drawn.solarised[:, None, None, None] & (x >= 0.5), 1 - x, x)
    return x


def both_sides(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    """rows @ x @ columns^T for every channel: (B, h, H), (B, 3, H, W), (B, w, W) -> (B, 3, h, w)."""
    batch, channels, height, width = x.shape
    x = torch.bmm(x.reshape(batch, channels * height, width), columns.transpose(1, 2))  # (B, 3*H, w)
    return torch.matmul(rows[:, None], x.unflatten(1, (channels, height)))  # (B, 3, h, w)


def resize_matrix(
    start: Tensor, length: Tensor, side: int, size: int, interpolation: str, dtype: torch.dtype
) -> Tensor:
    """The antialiased resize of pixels `start` to `start + length` of `side` to `size` pixels, (B, size, side).

    The filter is widened where the crop shrinks; pixels outside the crop do not count, as if it had been cut out first.
    """
    start, length = start.to(dtype)[:, None, None], length.to(dtype)[:, None, None]
    stretch = length / size  # source pixels for one of the view's
    centre = start + (torch.arange(size, device=start.device, dtype=dtype)[:, None] + 0.5) * stretch  # (B, size, 1)
    pixel = torch.arange(side, device=start.device, dtype=dtype) + 0.5  # (side,)
    distance = ((pixel - centre) / stretch.clamp(min=1)).abs()  # (B, size, side)
    weight = _cubic(distance) if interpolation == "bicubic" else (1 - distance).clamp_(min=0)
    weight = weight * ((pixel > start) & (pixel < start + length))
    return weight / weight.sum(2, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5, as PIL and torch's antialiased resize use it."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


def blur_matrix(sigmas: Tensor, size: int) -> Tensor:
    """Gaussian blur along one side, (B, size, size), edges reflected; the identity where sigma is 0.

    The kernel reaches as far as the usual recipes' (a tenth of the side, at least 1 pixel each way).
    """
    radius = max(1, size // 20)
    offsets = torch.arange(-radius, radius + 1, device=sigmas.device)
    kernel = (-0.5 * (offsets / sigmas.clamp(min=0.05)[:, None]).square()).exp()  # (B, 2r+1)
    kernel = kernel / kernel.sum(1, keepdim=True)
    source = torch.arange(size, device=sigmas.device)[:, None] + offsets  # (size, 2r+1)
    source = source.abs()
    source = torch.where(source >= size, 2 * (size - 1) - source, source)  # reflected without repeating the edge
    matrix = kernel.new_zeros(len(sigmas), size, size)
    return matrix.scatter_add_(2, source.expand(len(sigmas), -1, -1), kernel[:, None].expand(-1, size, -1))


def standard_views(framework: str, size: int) -> tuple[View, ...]:
    """The views each framework was published with, at `size` pixels; below 96 pixels without blur, as the recipes for
    small pictures have it, except MoCo v3's, MoBY's and none's solarise and colours which stay.

    DINO: two global crops and eight local ones of 3/7 the size (96 for 224).
    """
    small = size < 96
    blur1, blur2, blur = (0.0, 0.0, 0.0) if small else (1.0, 0.1, 0.5)
    byol = (0.4, 0.4, 0.2, 0.1)
    least = 0.2 if small else 0.08
    if framework in ("moco_v3", "moby", "byol"):
        interpolation = "bicubic" if framework == "byol" else "bilinear"
        return (
            View(size, (least, 1), jitter=byol, blur=blur1, interpolation=interpolation),
            View(size, (least, 1), jitter=byol, blur=blur2, solarise=0.2, interpolation=interpolation),
        )
    if framework == "none":
        return (View(size, (least, 1), jitter=byol, blur=blur1),)
    if framework in ("moco_v2", "simsiam"):
        return (View(size, (0.2, 1), jitter=(0.4, 0.4, 0.4, 0.1), blur=blur),) * 2
    if framework == "simclr":
        s = 0.5 if small else 1.0
        strength = (0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s)
        return (View(size, (least, 1), jitter=strength, blur=blur, interpolation="bicubic"),) * 2
    if framework == "dino":
        globally = {"scale": (0.4, 1.0), "jitter": byol, "interpolation": "bicubic"}
        local = View(max(8, round(size * 3 / 7 / 8) * 8), (0.05, 0.4), jitter=byol, blur=blur, interpolation="bicubic")
        return (
            View(size, blur=blur1, **globally),  # type: ignore[arg-type]
            View(size, blur=blur2, solarise=0.2, **globally),  # type: ignore[arg-type]
            *((local,) * 8),
        )
    raise ValueError(f"no standard views for {framework!r}")
