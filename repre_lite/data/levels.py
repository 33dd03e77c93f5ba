"""Which values are black and white in images of more than 8 bits: one rule for all files of a folder.

Images of 10, 12 or 16 bits and floating-point images do not say which value is white. Here black is 0, or the lowest
value of the folder if that is negative, white is the highest value of the folder, and values between are linear. Values
that a file marks as no data do not count and are black.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

Range = tuple[float, float]

BITS, WHITE_IS_ZERO, FORMAT, NO_DATA = 258, 262, 339, 42113  # tags of TIFF; the last one is GDAL's


@dataclass(frozen=True)
class Levels:
    """Black and white of images of whole numbers, and of images of floating-point numbers.

    The defaults, for a folder in which no such image was found, are the full range of 16 bits, and 0 to 1.
    """

    whole: Range = (0.0, 65535.0)
    floating: Range = (0.0, 1.0)

    @classmethod
    def of(cls, ranges: list[tuple[str, Range]]) -> Levels:
        """The levels of a folder from mode and `range_of` of its deep images."""
        found = {
            name: (min(low for low, _ in held), max(high for _, high in held))
            for name, floats in (("whole", False), ("floating", True))
            if (held := [ends for mode, ends in ranges if (mode == "F") is floats])
        }
        return cls(**found)

    def scale(self, image: Image.Image) -> Image.Image:
        """A deep image as 8-bit grey. What is not a number becomes black."""
        black, white = self.floating if image.mode == "F" else self.whole
        values = np.nan_to_num(values_of(image), nan=black, posinf=white, neginf=black)
        share = (values.clip(black, white) - black) / (white - black if white > black else 1.0)  # (H, W) in [0, 1]
        return Image.fromarray((share * 255 + 0.5).astype(np.uint8))


def is_deep(image: Image.Image) -> bool:
    """Whether the image has one channel of more than 8 bits or of floating-point numbers."""
    return image.mode.startswith(("I", "F"))


def values_of(image: Image.Image) -> np.ndarray:
    """The numbers in a deep image as its file means them, float64 (H, W); NaN where it marks no data.

    Pillow reads unsigned 32-bit numbers of a TIFF as signed, and leaves those of which 0 is white as they are: they are
    negated, so that white is the highest.
    """
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "I" and tags.get(BITS) == (32,) and tags.get(FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)
    numbers = values.astype(np.float64)
    try:
        no_data = float(str(tags.get(NO_DATA, "")).strip("\0 "))
    except ValueError:
        no_data = np.nan
    numbers[numbers == (np.float32(no_data) if image.mode == "F" else no_data)] = np.nan
    return -numbers if tags.get(WHITE_IS_ZERO) == 0 else numbers


def range_of(image: Image.Image) -> Range:
    """Black and white of a deep image by itself: its lowest value, or 0 if that is lower, and its highest.

    Infinite values and those of no data do not count; an image without any other has the range 0 to 0.
    """
    values = values_of(image)
    finite = values[np.isfinite(values)]
    return (min(0.0, float(finite.min())), float(finite.max())) if finite.size else (0.0, 0.0)
