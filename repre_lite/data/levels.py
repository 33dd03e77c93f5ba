"""Which values are black and white in images of more than 8 bits: one rule for all files of a folder.

Images of 10, 12 or 16 bits and floating-point images do not say which value is white. Here black is 0, or the lowest
value of the folder if that is negative, white is the highest value of the folder, and values between are linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

Range = tuple[float, float]


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
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=black, posinf=white, neginf=black)
        share = (values.clip(black, white) - black) / (white - black if white > black else 1.0)  # (H, W) in [0, 1]
        return Image.fromarray((share * 255 + 0.5).astype(np.uint8))


def is_deep(image: Image.Image) -> bool:
    """Whether the image has one channel of more than 8 bits or of floating-point numbers."""
    return image.mode.startswith(("I", "F"))


def range_of(image: Image.Image) -> Range:
    """Black and white of a deep image by itself: its lowest value, or 0 if that is lower, and its highest.

    Infinite values do not count; an image without finite values has the range 0 to 0.
    """
    values = np.asarray(image)
    finite = values[np.isfinite(values)]
    return (min(0.0, float(finite.min())), float(finite.max())) if finite.size else (0.0, 0.0)
