"""Batched augmentation on the device: uint8 pictures in, views in [0, 1] out, each picture with its own parameters.

One static form serves every device and compiles whole: no shape, no branch and no copy to the host depends on the data.
A crop with its resize, and a blur, are each two small matrices per picture, one for rows and one for columns; a flip
mirrors the columns' matrix. The laws of the random parameters are torchvision's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.randomness import uniform
from .jitter import grey, jitter, solarise

ATTEMPTS = 10  # of torchvision's RandomResizedCrop before it falls back to a central crop
Side = int | Tensor  # height or width in pixels, of all pictures or (B,) of each
CHUNK_PIXELS = 2**15  # of a view, done at a time on a CPU: what is worked on stays in its cache


class ViewParameters(NamedTuple):
    """What was drawn for one view of B pictures.

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


@dataclass(frozen=True)
class View:
    """How one view is made. `size` in pixels; `scale` the crop's share of the area, `ratio` its width by height;
    `jitter` strengths of brightness, contrast, saturation, hue; `blur_sigma` in pixels of the view; `interpolation`
    "bilinear" or "bicubic"; the rest are probabilities, and an operation of probability 0 costs nothing."""

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

    def __post_init__(self) -> None:
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UserError(f"interpolation {self.interpolation!r} of a View: choose bilinear or bicubic")

    def draw(
        self,
        seed: int,
        step: int | Tensor,
        rows: Tensor,
        purpose: int | Tensor,
        height: Side,
        width: Side,
        dtype: torch.dtype,
    ) -> ViewParameters:
        """Every random number of this view for pictures of height x width pixels, numbers or (B,); `rows` int64 (B,)."""
        parts = (ATTEMPTS, ATTEMPTS, 2, 4, 4, 1, 5)
        drawn = uniform(seed, step, rows, purpose, sum(parts), dtype).split(parts, dim=1)
        areas, ratios, places, spread, order, sigma, chances = drawn
        flip, jittered, greyed, blurred, solarised = (
            chances[:, column] < probability
            for column, probability in enumerate((self.flip, self.jitter_p, self.grey, self.blur, self.solarise))
        )
        # from max(0, 1 - strength) to 1 + strength; hue from -strength to strength
        low = [-min(1.0, strength) for strength in self.jitter[:3]] + [-self.jitter[3]]
        changes = [
            torch.where(jittered, lowest + (strength - lowest) * u, 0)
            for lowest, strength, u in zip(low, self.jitter, spread.unbind(1), strict=True)
        ]
        narrow, wide = self.blur_sigma
        return ViewParameters(
            boxes=sample_boxes(areas, ratios, places, self, height, width),
            flips=flip,
            factors=1 + torch.stack(changes[:3], dim=1),
            shift=changes[3],
            order=order.argsort(dim=1, stable=True),
            greys=greyed,
            sigmas=torch.where(blurred, narrow + (wide - narrow) * sigma[:, 0], 0),
            solarised=solarised,
        )

    def apply(self, pictures: Tensor, parameters: ViewParameters) -> Tensor:
        """`pictures` uint8 (B, 3, H, W) -> the view (B, 3, size, size) in [0, 1], in the type of the parameters."""
        top, left, height, width = parameters.boxes.unbind(1)
        dtype, kind = parameters.factors.dtype, self.interpolation
        rows = resize_matrix(top, height, pictures.shape[2], self.size, kind, dtype)  # (B, size, H)
        columns = resize_matrix(left, width, pictures.shape[3], self.size, kind, dtype, parameters.flips)
        x = both_sides(rows.mul_(1 / 255), pictures.to(dtype), columns)  # (B, 3, size, size)
        return self.colour(x.clamp_(0, 1), parameters)  # bicubic overshoots, and rounding does

    def finish(self, crops: Tensor, parameters: ViewParameters) -> Tensor:
        """`crops` uint8 (B, 3, size, size), cut elsewhere by `parameters.boxes` -> the view in [0, 1]."""
        x = crops.to(parameters.factors.dtype, memory_format=torch.contiguous_format) / 255
        x = torch.where(parameters.flips[:, None, None, None], x.flip(3), x)
        return self.colour(x, parameters)

    def colour(self, x: Tensor, parameters: ViewParameters) -> Tensor:
        """All that does not move pixels: jitter, greyscale, blur, solarise on (B, 3, size, size) in [0, 1]."""
        dtype = x.dtype
        if self.jitter_p > 0:
            x = jitter(x, parameters.factors, parameters.shift, parameters.order)
        if self.grey > 0:
            x = torch.lerp(x, grey(x), parameters.greys.to(dtype)[:, None, None, None])
        if self.blur > 0:
            matrix = blur_matrix(parameters.sigmas, self.size, self.blur_sigma[1])  # (B, size, size)
            x = both_sides(matrix, x, matrix).clamp_(0, 1)
        if self.solarise > 0:
            x = solarise(x, parameters.solarised)
        return x


class Views:
    """Makes every view of a batch. `seed`, step and a picture's row in the global batch decide all its draws.

    `compile` compiles the drawing and the making of each distinct view, once for a batch size.
    """

    def __init__(self, views: tuple[View, ...], seed: int, compile: bool = False) -> None:
        self.views = views
        self.seed = seed
        self.compile = compile
        self._draw = torch.compile(View.draw, dynamic=False) if compile else View.draw
        self._apply = torch.compile(View.apply, dynamic=False) if compile else View.apply
        self._finish = torch.compile(View.finish, dynamic=False) if compile else View.finish

    def __call__(self, pictures: Tensor, step: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """`pictures` uint8 (B, 3, H, W), `rows` int64 (B,) of the global batch -> a (B, 3, size, size) for each view."""
        if pictures.dtype != torch.uint8:
            raise UserError(f"pictures of type {pictures.dtype} for views: give uint8, 0 to 255")
        parameters = self.parameters(step, rows, pictures.shape[2], pictures.shape[3], dtype)
        return [self.make(index, pictures, drawn) for index, drawn in enumerate(parameters)]

    def parameters(
        self, step: int, rows: Tensor, height: int, width: int, dtype: torch.dtype = torch.float32
    ) -> list[ViewParameters]:
        """What is drawn for each view of pictures of height x width pixels."""

        def constant(number: int) -> int | Tensor:
            """A compiled graph holds numbers as constants, but takes tensors as they come: one graph for all steps."""
            return torch.full((), number, dtype=torch.int64, device=rows.device) if self.compile else number

        at = constant(step)
        return [
            self._draw(view, self.seed, at, rows, constant(index), height, width, dtype)
            for index, view in enumerate(self.views)
        ]

    def boxes(self, step: int, rows: Tensor, heights: Tensor, widths: Tensor) -> list[Tensor]:
        """Where each view is cut from pictures of different sizes, (B,) each -> int64 (B, 4) for each view."""
        return [
            view.draw(self.seed, step, rows, index, heights, widths, torch.float32).boxes
            for index, view in enumerate(self.views)
        ]

    def finish(self, crops: list[Tensor], step: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """The views from crops that were cut by `boxes`: uint8 (B, 3, size, size) each -> the same in [0, 1]."""
        parameters = self.parameters(step, rows, 1, 1, dtype)  # nothing but the boxes depends on the pictures' size
        return [self.make(i, c, p, self._finish) for i, (c, p) in enumerate(zip(crops, parameters, strict=True))]

    def make(self, index: int, pictures: Tensor, parameters: ViewParameters, how: Any = None) -> Tensor:
        """The view of that index, chunk by chunk on a CPU: `pictures` uint8 (B, 3, H, W) -> (B, 3, size, size)."""
        view, how = self.views[index], how or self._apply
        chunk = max(1, CHUNK_PIXELS // view.size**2) if pictures.device.type == "cpu" else len(pictures)
        made = parameters.factors.new_empty(len(pictures), 3, view.size, view.size)
        for start in range(0, len(pictures), chunk):
            part = slice(start, start + chunk)
            made[part] = how(view, pictures[part], ViewParameters(*(drawn[part] for drawn in parameters)))
        return made


def sample_boxes(areas: Tensor, ratios: Tensor, places: Tensor, view: View, height: Side, width: Side) -> Tensor:
    """torchvision's RandomResizedCrop: ten attempts at an area and a ratio, else the largest central crop that fits.

    `areas`, `ratios` (B, 10) and `places` (B, 2) in [0, 1); `height`, `width` of the pictures in pixels, numbers or (B,)
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
    return (kernel @ taken.flatten(1)).unflatten(1, (size, size))


def standard_views(framework: str, size: int, patch: int = 8) -> tuple[View, ...]:
    """The views each framework was published with, at `size` pixels. Below 96 pixels, as the recipes for small pictures
    have it: no blur, crops of a fifth of the picture or more, SimCLR's colours at half their strength.

    DINO: two global crops and eight local ones of 3/7 the size (96 for 224), rounded to whole patches of `patch` pixels
    and to multiples of 8; below 96 pixels four of them.
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
        whole = math.lcm(8, patch)
        side = max(1, round(size * 3 / 7 / whole)) * whole
        local = View(side, (0.05, 0.4), jitter=byol, blur=blur, interpolation="bicubic")
        return (
            View(size, blur=blur1, **globally),  # type: ignore[arg-type]
            View(size, blur=blur2, solarise=0.2, **globally),  # type: ignore[arg-type]
            *((local,) * (4 if small else 8)),
        )
    raise ValueError(f"no standard views for {framework!r}")
