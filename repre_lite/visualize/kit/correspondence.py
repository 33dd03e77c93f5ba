"""Which patch of one view shows the same place as which patch of another, from the two crops alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def corresponding(
    grid: tuple[int, int], box: Sequence[int], flip: bool, other_box: Sequence[int], other_flip: bool
) -> np.ndarray:
    """Where each of h x w patches of a view lies in another view of the same image.

    `box`, `other_box`: top, left, height, width of the two crops in pixels of the image; `flip`, `other_flip`:
    mirrored left to right (a row of `ViewParameters.boxes` and `.flips` each). -> rectangles (h, w, 4): top, left,
    height, width in shares of the other view; the other view does not show what lies outside [0, 1].
    """
    h, w = grid
    top, left, height, width = (float(side) for side in box)
    other_top, other_left, other_height, other_width = (float(side) for side in other_box)
    columns = np.arange(w)[::-1] if flip else np.arange(w)
    rectangles = np.empty((h, w, 4))
    rectangles[..., 0] = ((top + np.arange(h) * height / h - other_top) / other_height)[:, None]
    rectangles[..., 1] = (left + columns * width / w - other_left) / other_width
    rectangles[..., 2] = height / h / other_height
    rectangles[..., 3] = width / w / other_width
    if other_flip:
        rectangles[..., 1] = 1 - rectangles[..., 1] - rectangles[..., 3]
    return rectangles


def patches_at(rectangles: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The patch, in a view of h x w patches, that contains the centre of each of the (..., 4) rectangles: row and
    column, int (..., 2), both -1 if the centre lies outside."""
    centres = rectangles[..., :2] + rectangles[..., 2:] / 2  # (..., 2)
    places = np.floor(centres * np.array(grid)).astype(int)
    inside = ((centres >= 0) & (centres < 1)).all(-1, keepdims=True)
    return np.where(inside, places, -1)
