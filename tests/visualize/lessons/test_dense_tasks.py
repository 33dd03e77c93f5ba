"""The diagrams of lesson 11: nothing is cut off, and the levels are those of the detector's pyramid."""

import re

import pytest
import torch

import repre_lite as rl
from repre_lite.transfer import DenseBackbone
from repre_lite.transfer.pyramid import Pyramid
from repre_lite.visualize.lessons.dense_tasks import one_resolution, three_readouts


@pytest.mark.parametrize("figure", [three_readouts(), one_resolution()], ids=["readouts", "pyramid"])
def test_all_text_is_legible_and_inside(figure, legible):
    legible(figure)


def test_the_levels_are_those_of_the_pyramid():
    words = " ".join(text.get_text() for text in one_resolution(grid=8, patch=4).axes[0].texts)
    drawn = [(int(cells), int(stride)) for cells, stride in re.findall(r"(\d+)x\d+\s+cells of (\d+)", words)]
    pyramid = Pyramid(DenseBackbone(rl.build_encoder("vit_micro", 32), frozen=True), 8)
    levels = list(pyramid(torch.zeros(1, 3, 32, 32)).values())[:-1]  # the last is the coarsest, subsampled
    assert drawn == [(level.shape[-1], stride) for level, stride in zip(levels, pyramid.strides, strict=False)]
