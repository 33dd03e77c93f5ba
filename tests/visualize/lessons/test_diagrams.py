"""The diagrams of the lessons: what they show lies where it should, and all text can be read."""

import numpy as np
import pytest
import torch

from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.card import Card
from repre_lite.visualize.lessons.diagrams import two_crops, view_path
from repre_lite.visualize.lessons.paper import figure1, figure2
from repre_lite.visualize.lessons.parallel import processes, stopped


def words(figure):
    """Text -> its place on the page, in pixels; nothing below 9 points, nothing cut off."""
    png(figure)  # lays it out
    found = {}
    for axis in figure.axes:
        for text in [*axis.texts, axis.xaxis.label, axis.yaxis.label]:
            if text.get_text():
                box = text.get_window_extent()
                assert text.get_fontsize() >= 9
                assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
                found[text.get_text()] = box
    return found


def apart(found):
    """No two texts cover each other."""
    boxes = list(found.values())
    return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.fixture
def stages():
    return {name: torch.rand(3, 8, 8) for name in ("image", "crop, resize", "mirror?", "jitter", "grey?")}


def test_the_path_of_a_view_shows_every_stage_and_both_ends(stages):
    figure = view_path(stages, torch.full((3, 8, 8), 2.0))
    found = words(figure)
    assert apart(found) and {*stages, "normalised", "encoder", "target of the L1 loss\n(equation 3)"} == set(found)
    order = [found[name].x0 for name in [*stages, "normalised", "encoder"]]
    assert order == sorted(order)
    shown = [image.get_array() for image in figure.axes[0].images]
    assert len(shown) == 6 and np.allclose(shown[0], stages["image"].permute(1, 2, 0)) and shown[-1].max() == 1
    assert png(figure)[:4] == b"\x89PNG"


def test_crops_are_drawn_where_they_are():
    figure = two_crops((4, 3, 17, 19), (11, 13, 18, 15))
    assert apart(words(figure))
    outlines = [box.get_bbox().bounds for box in figure.axes[0].patches]
    assert (2.5, 3.5, 19, 17) in outlines and (12.5, 10.5, 15, 18) in outlines
    assert outlines[-1] == (12.5, 10.5, 9, 10)  # hatched: what both show


def test_a_card_keeps_its_size_whatever_is_drawn():
    card = Card(4, 2)
    card.image((1, 1), 0.5, np.ones((4, 4, 3)))
    card.box((3, 1), (0.8, 0.4), "box", "#0072B2")
    card.arrow([(1.3, 1), (2, 1), (2, 1.5), (2.6, 1.5)], line="--")
    assert card.axis.get_xlim() == (0, 4) and card.axis.get_ylim() == (0, 2)
    assert card.axis.images[0].get_extent() == [0.75, 1.25, 0.75, 1.25]
    assert list(words(card.figure)) == ["box"]


@pytest.mark.parametrize(("taps", "depth"), [((2, 5, 8, 11), 12), ((1, 3, 5, 7), 8), ((0, 1), 2)])
def test_figure_2_joins_every_tap_to_its_block(taps, depth):
    figure = figure2(taps, depth)
    found = words(figure)
    assert apart(found) and {f"block {tap}" for tap in taps} <= set(found)
    assert {name for name in found if name.startswith("fusion block")} == {
        f"fusion block {i}" for i in range(1, len(taps))
    }
    heights = [found[f"block {tap}"].y0 for tap in taps]
    assert heights == sorted(heights)  # deep is above shallow


def test_figure_1_shows_image_views_and_reconstruction():
    images = torch.rand(4, 3, 8, 8)
    figure = figure1(images[0], images[1:3], 3 * images[3])
    found = words(figure)
    assert apart(found) and "contrastive\nloss (eq. 1)" in found and "L1 loss\n(eq. 3)" in found
    shown = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(shown) == 4 and all(np.allclose(a, b.permute(1, 2, 0)) for a, b in zip(shown, images[:3], strict=False))
    assert shown[3].max() <= 1


def test_rows_of_processes_cover_the_batch():
    found = words(processes(4, 4096))
    assert apart({name: box for name, box in found.items() if name.startswith("rows")})
    assert [name for name in found if name.startswith("rows")] == [
        f"rows {first}\nto {first + 1023}" for first in (0, 1024, 2048, 3072)
    ]
    assert {"keys", "gradients"} < set(found)


def test_a_stopped_run_begins_again_at_its_last_checkpoint():
    found = words(stopped(2000, (500, 1000, 1500, 2000), 1290))
    assert apart(found) and "290 steps are done twice" in found and "killed at 1290" in found
    assert "300 steps are done twice" in words(stopped(1000, (500, 1000), 300))  # before the first checkpoint
