"""How one view of an image is made, as plain data: what a recipe holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..runtime.errors import UserError


@dataclass(frozen=True)
class View:
    """An augmented crop of an image (section 3.1).

    `size`: its side in pixels. `scale`: the crop's share of the image's area, `ratio`: its width over its height.
    `jitter`: strengths of brightness, contrast, saturation and hue. `blur_sigma`: in pixels of the view.
    `interpolation`: "bilinear" or "bicubic". `flip`, `jitter_p`, `grey`, `blur` and `solarise` are probabilities; an
    operation of probability 0 costs nothing. Raises UserError for a value out of range.
    """

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
        """Check the values."""
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UserError(f"interpolation={self.interpolation!r} of a View: choose bilinear or bicubic")
        if not isinstance(self.size, int) or self.size < 1:
            raise UserError(f"size={self.size} of a View: give a number of pixels, 1 or more")
        for name, count in (("scale", 2), ("ratio", 2), ("jitter", 4), ("blur_sigma", 2)):
            values = getattr(self, name)
            if not isinstance(values, tuple | list) or len(values) != count or not all(map(_is_number, values)):
                raise UserError(f"{name}={values} of a View: give {count} numbers, such as {getattr(View, name)}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"scale={self.scale} of a View: give two shares of the area, 0 < low <= high <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"ratio={self.ratio} of a View: give two positive ratios, low <= high")
        if min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise UserError(f"jitter={self.jitter} of a View: give strengths of 0 or more, with hue at most 0.5")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise UserError(f"blur_sigma={self.blur_sigma} of a View: give two widths in pixels, 0 < low <= high")
        for name in ("flip", "jitter_p", "grey", "blur", "solarise"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)} of a View: a probability is between 0 and 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
