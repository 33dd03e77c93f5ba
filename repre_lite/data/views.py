"""Batched augmentation on the device: uint8 images in, views in [0, 1] out, each image with its own parameters.

No shape, branch or copy to the host depends on the data, so one form serves every device and compiles as one graph.
A crop with its resize, and a blur, are each two small matrices per image, one for rows and one for columns; a flip
mirrors the columns' matrix. The distributions of the random parameters are torchvision's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.randomness import uniform
from .jitter import grey, jitter, solarise
from .resample import Side, blur_matrix, both_sides, resize_matrix, sample_boxes
from .view import View

__all__ = ["View", "ViewParameters", "Views", "apply", "finish", "sample"]

ATTEMPTS = 10  # of torchvision's RandomResizedCrop before it falls back to a central crop
CHUNK_PIXELS = 2**15  # of a view, done at a time on a CPU: what is worked on stays in its cache


class ViewParameters(NamedTuple):
    """The random parameters of one view of B images.

    `boxes` int64 (B, 4): top, left, height, width in pixels; `flips` bool (B,); jitter `factors` (B, 3) of brightness,
    contrast, saturation (1 changes nothing), hue `shift` (B,) in turns, `order` int64 (B, 4) of operations 0 to 3;
    `greys` bool (B,); `sigmas` (B,) in pixels of the view, 0 without blur; `solarised` bool (B,).
    """

    boxes: Tensor
    flips: Tensor
    factors: Tensor
    shift: Tensor
    order: Tensor
    greys: Tensor
    sigmas: Tensor
    solarised: Tensor


def sample(
    view: View,
    seed: int,
    step: int | Tensor,
    rows: Tensor,
    purpose: int | Tensor,
    height: Side,
    width: Side,
    dtype: torch.dtype,
) -> ViewParameters:
    """Every random number of this view for images of height x width pixels, numbers or (B,); `rows` int64 (B,)."""
    parts = (ATTEMPTS, ATTEMPTS, 2, 4, 4, 1, 5)
    drawn = uniform(seed, step, rows, purpose, sum(parts), dtype).split(parts, dim=1)
    areas, ratios, places, spread, order, sigma, chances = drawn
    flip, jittered, greyed, blurred, solarised = (
        chances[:, column] < probability
        for column, probability in enumerate((view.flip, view.jitter_p, view.grey, view.blur, view.solarise))
    )
    # from max(0, 1 - strength) to 1 + strength; hue from -strength to strength
    low = [-min(1.0, strength) for strength in view.jitter[:3]] + [-view.jitter[3]]
    changes = [
        torch.where(jittered, lowest + (strength - lowest) * u, 0)
        for lowest, strength, u in zip(low, view.jitter, spread.unbind(1), strict=True)
    ]
    narrow, wide = view.blur_sigma
    return ViewParameters(
        boxes=sample_boxes(areas, ratios, places, view, height, width),
        flips=flip,
        factors=1 + torch.stack(changes[:3], dim=1),
        shift=changes[3],
        order=order.argsort(dim=1, stable=True),
        greys=greyed,
        sigmas=torch.where(blurred, narrow + (wide - narrow) * sigma[:, 0], 0),
        solarised=solarised,
    )


def apply(view: View, images: Tensor, parameters: ViewParameters) -> Tensor:
    """`images` uint8 (B, 3, H, W) -> the view (B, 3, size, size) in [0, 1], in the type of the parameters."""
    top, left, height, width = parameters.boxes.unbind(1)
    dtype, kind = parameters.factors.dtype, view.interpolation
    rows = resize_matrix(top, height, images.shape[2], view.size, kind, dtype)  # (B, size, H)
    columns = resize_matrix(left, width, images.shape[3], view.size, kind, dtype, parameters.flips)
    x = both_sides(rows.mul_(1 / 255), images.to(dtype), columns)  # (B, 3, size, size)
    return colour(view, x.clamp_(0, 1), parameters)  # bicubic overshoots, and rounding does


def finish(view: View, crops: Tensor, parameters: ViewParameters) -> Tensor:
    """`crops` uint8 (B, 3, size, size), cut elsewhere by `parameters.boxes` -> the view in [0, 1]."""
    x = crops.to(parameters.factors.dtype, memory_format=torch.contiguous_format) / 255
    x = torch.where(parameters.flips[:, None, None, None], x.flip(3), x)
    return colour(view, x, parameters)


def colour(view: View, x: Tensor, parameters: ViewParameters) -> Tensor:
    """Every operation that does not move pixels: jitter, greyscale, blur, solarise on (B, 3, size, size) in [0, 1]."""
    dtype = x.dtype
    if view.jitter_p > 0:
        x = jitter(x, parameters.factors, parameters.shift, parameters.order)
    if view.grey > 0:
        x = torch.lerp(x, grey(x), parameters.greys.to(dtype)[:, None, None, None])
    if view.blur > 0:
        matrix = blur_matrix(parameters.sigmas, view.size, view.blur_sigma[1])  # (B, size, size)
        x = both_sides(matrix, x, matrix).clamp_(0, 1)
    if view.solarise > 0:
        x = solarise(x, parameters.solarised)
    return x


class Views:
    """Makes every view of a batch. All randomness is a function of `seed`, the step and an image's row in the global batch.

    `compile` compiles the sampling and the making of each distinct view, once for each batch size.
    """

    def __init__(self, views: tuple[View, ...], seed: int, compile: bool = False) -> None:
        self.views = views
        self.seed = seed
        self.compile = compile
        self._sample = torch.compile(sample, dynamic=False) if compile else sample
        self._apply = torch.compile(apply, dynamic=False) if compile else apply
        self._finish = torch.compile(finish, dynamic=False) if compile else finish

    def __call__(self, images: Tensor, step: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """`images` uint8 (B, 3, H, W), `rows` int64 (B,) of the global batch -> a (B, 3, size, size) for each view."""
        if images.dtype != torch.uint8:
            raise UserError(
                f"views are made of uint8 images, 0 to 255, not of {images.dtype}; convert the images first"
            )
        parameters = self.parameters(step, rows, images.shape[2], images.shape[3], dtype)
        return [self.make(index, images, drawn) for index, drawn in enumerate(parameters)]

    def parameters(
        self, step: int, rows: Tensor, height: int, width: int, dtype: torch.dtype = torch.float32
    ) -> list[ViewParameters]:
        """The random parameters of each view of images of height x width pixels."""

        def constant(number: int) -> int | Tensor:
            """A compiled graph holds numbers as constants, but takes tensors as they come: one graph for all steps."""
            return torch.full((), number, dtype=torch.int64, device=rows.device) if self.compile else number

        at = constant(step)
        return [
            self._sample(view, self.seed, at, rows, constant(index), height, width, dtype)
            for index, view in enumerate(self.views)
        ]

    def boxes(self, step: int, rows: Tensor, heights: Tensor, widths: Tensor) -> list[Tensor]:
        """Where each view is cut from images of different sizes, (B,) each -> int64 (B, 4) for each view."""
        return [
            sample(view, self.seed, step, rows, index, heights, widths, torch.float32).boxes
            for index, view in enumerate(self.views)
        ]

    def finish(self, crops: list[Tensor], step: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """The views from crops that were cut by `boxes`: uint8 (B, 3, size, size) each -> the same in [0, 1]."""
        parameters = self.parameters(step, rows, 1, 1, dtype)  # nothing but the boxes depends on the images' size
        return [self.make(i, c, p, self._finish) for i, (c, p) in enumerate(zip(crops, parameters, strict=True))]

    def make(self, index: int, images: Tensor, parameters: ViewParameters, how: Any = None) -> Tensor:
        """The view of that index, chunk by chunk on a CPU: `images` uint8 (B, 3, H, W) -> (B, 3, size, size)."""
        view, how = self.views[index], how or self._apply
        chunk = max(1, CHUNK_PIXELS // view.size**2) if images.device.type == "cpu" else len(images)
        made = parameters.factors.new_empty(len(images), 3, view.size, view.size)
        for start in range(0, len(images), chunk):
            part = slice(start, start + chunk)
            made[part] = how(view, images[part], ViewParameters(*(drawn[part] for drawn in parameters)))
        return made
