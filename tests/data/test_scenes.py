"""Scenes are the same everywhere, do not depend on each other, and their masks and boxes are right."""

import pytest
import torch
from torch.nn import functional as F

from repre_lite.data.scenes import CLASS_NAMES, VAL_START, scenes
from repre_lite.runtime.errors import UserError


def test_a_scene_depends_on_its_index_alone():
    whole = scenes(range(50))
    some = scenes([49, 3, 17])
    for part, full in zip(some, whole, strict=True):
        assert torch.equal(part, full[[49, 3, 17]])
    assert torch.equal(scenes(torch.tensor([5])).images, whole.images[5:6])


def test_pixels_equal_stored_ones():
    """Stored once; machines may differ by one grey level."""
    found = scenes([0, 7, 123, VAL_START + 4], size=32).images[:, :, 16, 11].int()
    assert ((found - torch.tensor(STORED)).abs() <= 1).all(), found.tolist()


def test_seeds_and_indices_give_different_scenes():
    a, b = scenes(range(20)).images.float(), scenes(range(20), seed=1).images.float()
    assert ((a - b).abs().mean((1, 2, 3)) > 5).all()
    assert len({image.numpy().tobytes() for image in scenes(range(500)).images}) == 500


def test_labels_take_turns():
    assert scenes(range(20)).labels.tolist() == list(range(10)) * 2
    assert len(CLASS_NAMES) == 10 and scenes([VAL_START]).labels.item() == 0


def test_masks_and_boxes_agree():
    drawn = scenes(range(100), size=48)
    for mask, (x0, y0, x1, y1) in zip(drawn.masks, drawn.boxes.int().tolist(), strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == [x0, y0, x1, y1]
        assert 0.005 < mask.float().mean() < 0.5


def test_a_scene_is_the_same_at_every_size():
    small, large = scenes(range(40), size=32), scenes(range(40), size=128)
    reduced = F.avg_pool2d(large.images.float(), 4)
    assert (reduced - small.images).abs().mean() < 8
    share = (small.masks.float().mean((1, 2)) - large.masks.float().mean((1, 2))).abs()
    assert share.max() < 0.03


def test_a_size_too_small_is_an_error():
    with pytest.raises(UserError, match=r"indices=24: give .* such as range\(24\)"):
        scenes(24)
    with pytest.raises(UserError, match="image_size=4"):
        scenes([0], size=4)


STORED = [[41, 45, 39], [126, 137, 96], [37, 65, 43], [38, 122, 65]]
