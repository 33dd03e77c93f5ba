"""How often images repeat, counted and estimated."""

import pytest
import torch

from repre_lite.data import repeats as room
from repre_lite.data.files import FileImages
from repre_lite.data.image_set import ImageSet
from repre_lite.data.repeats import repeats


def stack(*numbers):
    """Images of one number each."""
    return ImageSet(
        torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous(), None, ()
    )


@pytest.mark.parametrize(
    ("numbers", "distinct", "copies"),
    [((1, 2, 3, 4), 4, 0), ((1, 1, 1, 1), 1, 3), ((1, 1, 2, 2), 2, 1), ((1, 1, 2, 3), 3, 0.5), ((1,), 1, 0)],
)
def test_counted(numbers, distinct, copies):
    assert repeats(stack(*numbers)) == {"sampled": len(numbers), "distinct": distinct, "copies": copies}


def test_a_sample_estimates_the_same(monkeypatch):
    whole = stack(*(i % 50 for i in range(1000)))
    assert repeats(whole)["copies"] == 19
    monkeypatch.setattr(room, "MOST", 300)
    found = repeats(whole)
    assert found["sampled"] == 300 and found["copies"] == pytest.approx(19, rel=0.15)


def test_files_are_compared_by_what_they_hold(tmp_path):
    for name, content in {"a": b"same", "b": b"same", "c": b"other"}.items():
        (tmp_path / name).write_bytes(content)
    images = FileImages([tmp_path / name for name in ("a", "b", "c", "gone", "lost")], 8)
    assert repeats(ImageSet(images, None, ())) == {"sampled": 5, "distinct": 4, "copies": 0.4}
