"""Corresponding patches of hand-built crops, and of real views of a image whose pixels know where they are."""

import numpy as np
import pytest
import torch

from repre_lite.data.views import View, ViewParameters, apply, sample
from repre_lite.visualize.kit.correspondence import corresponding, patches_at

WHOLE = (0, 0, 8, 8)


def test_a_view_corresponds_to_itself():
    rectangles = corresponding((4, 4), (3, 5, 10, 12), True, (3, 5, 10, 12), True)
    rows, columns = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    assert np.allclose(rectangles, np.stack([rows / 4, columns / 4, 0 * rows + 0.25, 0 * rows + 0.25], -1))
    assert np.array_equal(patches_at(rectangles, (4, 4)), np.stack([rows, columns], -1))


@pytest.mark.parametrize(
    ("box", "flip", "other", "other_flip", "expected"),
    [
        ((0, 0, 4, 4), False, WHOLE, False, [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]),  # the upper left quarter
        ((0, 0, 4, 4), True, WHOLE, False, [[(0, 1), (0, 0)], [(1, 1), (1, 0)]]),
        ((0, 0, 4, 4), False, WHOLE, True, [[(0, 3), (0, 2)], [(1, 3), (1, 2)]]),
        ((0, 0, 4, 4), True, WHOLE, True, [[(0, 2), (0, 3)], [(1, 2), (1, 3)]]),
        ((4, 2, 4, 4), False, WHOLE, False, [[(2, 1), (2, 2)], [(3, 1), (3, 2)]]),
        (WHOLE, False, (0, 0, 4, 8), False, [[(1, 1), (1, 3)], [(-1, -1), (-1, -1)]]),  # the lower half is not shown
    ],
)
def test_corresponding_patches_by_hand(box, flip, other, other_flip, expected):
    grid = (4, 4) if box != WHOLE else (2, 4)
    rectangles = corresponding((2, 2), box, flip, other, other_flip)
    assert patches_at(rectangles, grid).tolist() == [[list(place) for place in row] for row in expected]


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_corresponding_places_of_real_views_look_the_same(flips):
    ramp = torch.arange(64, dtype=torch.uint8) * 4
    image = torch.stack([ramp[:, None].expand(64, 64), ramp.expand(64, 64), 0 * ramp.expand(64, 64)])[None]
    boxes = [(8, 4, 32, 48), (12, 10, 40, 40)]
    view = View(32, jitter_p=0, grey=0, blur=0)
    shown = []
    for box, flip in zip(boxes, flips, strict=True):
        drawn = sample(view, 0, 0, torch.zeros(1, dtype=torch.int64), 0, 64, 64, torch.float32)
        drawn = ViewParameters(torch.tensor([box]), torch.tensor([flip]), *drawn[2:])
        shown.append(apply(view, image, drawn)[0, :2])
    rectangles = corresponding((8, 8), boxes[0], flips[0], boxes[1], flips[1])
    middle = ((rectangles[..., :2] + rectangles[..., 2:] / 2) * 32).astype(int)
    inside = patches_at(rectangles, (8, 8))[..., 0] >= 0
    assert 20 < inside.sum() < 64
    for row, column in np.argwhere(inside):
        here = shown[0][:, 4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3].mean((1, 2))
        there = shown[1][:, middle[row, column, 0], middle[row, column, 1]]
        assert (here - there).abs().max() < 0.04  # two and a half of the ramp's steps
