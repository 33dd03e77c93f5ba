"""Which values are black and white in images of more than 8 bits: one rule for all files of a folder.

Images of 10, 12 or 16 bits and floating-point images do not say what their white is. Black is 0, or the lowest value of
the folder if that is negative; white is the highest value of the folder. Values between are scaled linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

Range = tuple[float, float]


@dataclass(frozen=True)
class Levels:
    """The values of black and white, for whole numbers and for floating-point numbers.

    By default the full range of 16 bits, and 0 to 1.
    """

    whole: Range = (0.0, 65535.0)
    floating: Range = (0.0, 1.0)

    def scale(self, image: Image.Image) -> Image.Image:
        """A deep image of any mode as 8-bit grey; what is not a number becomes black."""
        return scale(image, self.floating if image.mode == "F" else self.whole)


def is_deep(image: Image.Image) -> bool:
    """Whether the image has one channel of more than 8 bits or of floating-point numbers."""
    return image.mode.startswith(("I", "F"))


def range_of(image: Image.Image) -> Range | None:
    """The lowest (0 if nothing is negative) and highest finite value of a deep image; None if there are none."""
    values = np.asarray(image)
    finite = values[np.isfinite(values)]
    return (min(0.0, float(finite.min())), float(finite.max())) if finite.size else None


def joined(ranges: list[Range]) -> Range | None:
    """The range that holds all of `ranges`; None if there are none."""
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def scale(image: Image.Image, ends: Range) -> Image.Image:
    """A deep image as 8-bit grey, with `ends` the values of black and white."""
    black, white = ends
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=black, posinf=white, neginf=black)
    share = (values.clip(black, white) - black) / (white - black if white > black else 1.0)  # (H, W) in [0, 1]
    return Image.fromarray((share * 255 + 0.5).astype(np.uint8))
