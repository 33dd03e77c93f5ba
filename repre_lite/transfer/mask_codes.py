"""Masks of objects as run-length codes, as pycocotools has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

FARTHEST = 1e5  # pixels: pycocotools walks along the edges of a polygon


def run_lengths(mask: Any, size: tuple[int, int]) -> dict[str, Any] | str:
    """COCO's polygons or run-length code, of an image of `size` (H, W), as one run-length code; or what is wrong with it."""
    try:
        return _checked_code(mask, size) if isinstance(mask, dict) else _code_of_polygons(mask, size)
    except (KeyError, TypeError, ValueError, OverflowError):  # whatever a foreign file holds
        return "its mask is neither polygons, lists of x, y, x, y ..., nor a run-length code"


def _checked_code(mask: dict[str, Any], size: tuple[int, int]) -> dict[str, Any] | str:
    from pycocotools import mask as coder

    if list(mask.get("size", [])) != list(size):
        stated = "x".join(map(str, reversed(mask.get("size", []))))
        return f"its mask is of {stated or 'no'} pixels, the image of {size[1]}x{size[0]}"
    counts = mask["counts"]
    if isinstance(counts, list):
        if sum(counts) != size[0] * size[1]:
            return f"its run-length code is of {sum(counts)} pixels, the image of {size[0] * size[1]}"
        counts = coder.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]
    code = {"size": list(size), "counts": counts.encode() if isinstance(counts, str) else counts}
    coder.decode(code)  # raises ValueError if it is none
    return code


def _code_of_polygons(polygons: Any, size: tuple[int, int]) -> dict[str, Any] | str:
    from pycocotools import mask as coder

    held = [[float(number) for number in points] for points in polygons if len(points) >= 6]
    if not held:
        return "its mask has no polygon of three points or more"
    if not all(len(points) % 2 == 0 and all(abs(number) < FARTHEST for number in points) for points in held):
        raise ValueError
    code: dict[str, Any] = coder.merge(coder.frPyObjects(held, *size))
    return code


def encode_mask(mask: Tensor) -> dict[str, Any]:
    """The run-length code of a mask, bool (H, W)."""
    from pycocotools import mask as coder

    code: dict[str, Any] = coder.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
    return code
