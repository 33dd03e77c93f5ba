"""The view pair: overlap and matches of hand-built crops, where they are drawn, and real views of a image."""

import base64
import html

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data.views import Views
from repre_lite.frameworks import framework_class
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.pair import ViewPair


def pair_of(one, two, flips=(False, False), grid=2):
    grey = np.full((8, 8, 3), 0.5)
    return ViewPair(grey, (grey, grey), np.array([one, two]), np.array(flips), grid)


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        ((0, 0, 4, 4), (2, 3, 6, 5), (2, 3, 2, 1)),
        ((2, 3, 6, 5), (0, 0, 4, 4), (2, 3, 2, 1)),
        ((1, 1, 2, 2), (0, 0, 8, 8), (1, 1, 2, 2)),
        ((0, 0, 4, 4), (0, 4, 4, 4), (0, 4, 4, 0)),
    ],
)
def test_overlap_by_hand(one, two, overlap):
    assert pair_of(one, two).overlap == overlap
    share = overlap[2] * overlap[3] / 64
    assert f"both {share:.0%}" in pair_of(one, two).describe()


@pytest.mark.parametrize(
    ("flips", "expected"),
    [
        ((False, False), [(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0)]),
        ((False, True), [(0, 0, 0, 1), (0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 0, 1)]),
    ],
)
def test_a_quarter_in_the_whole(flips, expected):
    assert pair_of((0, 0, 4, 4), (0, 0, 8, 8), flips).matches.tolist() == [list(match) for match in expected]


def test_a_mirrored_view_matches_from_the_other_side():
    pair = pair_of((0, 0, 8, 8), (0, 0, 8, 4), (True, False))  # view 2 shows the left half
    assert pair.matches.tolist() == [[0, 1, 0, 1], [1, 1, 1, 1]]  # which view 1 has on its right
    assert pair._on_image(0, 1).tolist() == [0, 0, 4, 4]
    assert "100% of the image, mirrored, view 2 50%, both 50%; match 1 of 2: row 0, column 1 of view 1 is row 0, column 1 of view 2." in pair.describe(0)  # fmt: skip


def outlines(axis):
    """Top, left, height, width of every rectangle on an axis, in pixels."""
    boxes = [(p.get_y() + 0.5, p.get_x() + 0.5, p.get_height(), p.get_width()) for p in axis.patches]
    return [tuple(float(side) for side in box) for box in boxes]


def test_figure_draws_crops_overlap_and_match_where_they_are():
    pair = pair_of((0, 0, 4, 4), (2, 2, 6, 6), (True, False), grid=4)
    place = pair.matches.tolist().index([2, 1, 0, 0])  # row 2, column 1 of the mirrored crop: pixels 2 to 3, 2 to 3
    axes = pair.figure(place).axes
    assert {(0, 0, 4, 4), (2, 2, 6, 6), (2, 2, 2, 2), (2, 2, 1, 1)} == set(outlines(axes[0]))
    assert set(outlines(axes[1])) == {(4, 2, 2, 2)}
    dotted, same = (0, 0, 2, 2), (0, 0, 8 / 6, 8 / 6)
    assert {tuple(round(side, 6) for side in box) for box in outlines(axes[2])} == {
        dotted,
        tuple(round(s, 6) for s in same),
    }
    assert axes[1].get_title() == "view 1 = target, mirrored" and axes[2].get_title() == "view 2"
    assert "pixels 0.50 to 0.50" in axes[1].get_xlabel()


def shown(box):
    return base64.b64decode(box.image.value.split("base64,")[1].split('"')[0])


def test_the_slider_goes_over_all_matches():
    pair = pair_of((0, 0, 8, 8), (1, 1, 4, 4), (False, True), grid=4)
    box = pair.widget()
    slider, seen = box.controls["match"], set()
    assert (slider.min, slider.max) == (0, len(pair.matches) - 1) == (0, 3)
    assert html.unescape(box.sentence.value) == pair.describe()
    for match in range(4):
        slider.value = match
        assert html.unescape(box.sentence.value) == pair.describe(match)
        seen.add(shown(box))
    assert len(seen) == 4


def test_views_that_share_nothing():
    pair = pair_of((0, 0, 4, 4), (4, 4, 4, 4))
    box = pair.widget()
    assert len(pair.matches) == 0 and box.controls["match"].max == 0
    assert "both 0%" in box.sentence.value and "no patch of view 1" in box.sentence.value
    assert png(pair.figure()).startswith(b"\x89PNG")


@pytest.mark.parametrize("framework", ["moco_v3", "dino"])
def test_real_views_are_those_of_training(framework):
    views, images = Views(framework_class(framework).views(32, 8), seed=3), rl.scenes(range(4), size=48).images
    made = views(images, 5, torch.arange(10, 14))
    pair = ViewPair.compute(views, images[2], grid=4, step=5, row=12)
    for own, expected in zip(pair.views, made, strict=False):
        assert np.array_equal(own, expected[2].permute(1, 2, 0).numpy())
    assert pair.views[0].min() >= 0 and pair.views[0].max() <= 1
    assert np.array_equal(pair.image, images[2].permute(1, 2, 0).numpy() / 255)
    assert png(pair.figure()).startswith(b"\x89PNG")


def test_one_view_is_no_pair():
    with pytest.raises(rl.UserError, match="framework with two"):
        ViewPair.compute(Views(framework_class("none").views(32, 8), 0), rl.scenes([0]).images[0], grid=4)
