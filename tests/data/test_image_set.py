"""Subsets and statistics of a set of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from repre_lite.data.files import FileImages
from repre_lite.data.image_set import ImageSet, choose, measure
from repre_lite.data.listing import list_images


def test_subsets_are_even_and_seeded():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 5)
    chosen = choose(labels, 20, seed=0)
    assert labels[chosen].bincount().tolist() == [8, 7, 5] and torch.equal(chosen, chosen.sort().values)
    assert torch.equal(chosen, choose(labels, 20, 0)) and not torch.equal(chosen, choose(labels, 20, 1))


def test_a_subset_keeps_images_and_labels_together():
    labels = torch.arange(40) % 4
    whole = ImageSet(labels[:, None, None, None].expand(40, 3, 2, 2).to(torch.uint8), labels, tuple("abcd"))
    part = whole.subset(10, seed=3)
    assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels) and part.labels.bincount().tolist() == [3, 3, 2, 2]
    assert whole.subset(None) is whole and whole.subset(40) is whole


def test_mean_and_deviation():
    images = torch.randint(0, 256, (50, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = measure(images)
    values = images.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert np.allclose(mean, values.mean(1)) and np.allclose(std, values.std(1, ddof=1))


def test_the_mean_leaves_no_class_out():
    """Classes that take turns, as in the scenes: every second one is white."""
    images = (255 * (torch.arange(20_000) % 2)).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    assert measure(images)[0] == pytest.approx((0.5,) * 3, abs=0.02)


def test_the_mean_reads_as_many_images_as_it_says():
    class Counted:
        seen = 0

        def __len__(self):
            return 19_999

        def __getitem__(self, rows):
            self.seen += len(rows)
            return torch.zeros(len(rows), 3, 1, 1, dtype=torch.uint8)

    images = Counted()
    measure(images)
    assert images.seen == 10_000


@pytest.mark.parametrize("values", [(0, 128, 0), (255, 0, 17), (0, 0, 0), (200, 200, 200)])
def test_empty_and_constant_channels_stay_in_range(values, tmp_path):
    """Augmentation may put any value in [0, 1] into any channel."""
    image = np.zeros((8, 8, 3), np.uint8) + np.array(values, np.uint8)
    for i in range(4):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    images = torch.from_numpy(image).permute(2, 0, 1).expand(4, 3, 8, 8)
    for held in (images, FileImages(list_images(tmp_path), 8)):
        mean, std = (torch.tensor(x) for x in measure(held))
        assert torch.allclose(mean, torch.tensor(values) / 255.0)
        assert (1 - mean).div(std).max() <= 20.001 and mean.div(std).max() <= 20.001
