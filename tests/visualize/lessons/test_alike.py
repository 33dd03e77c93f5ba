"""Cosines between the patches of an image, against a hand-built encoder and the library's mean."""

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.evaluation.collapse import patch_cosine
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.alike import Alike, cosines, off_diagonal


@pytest.fixture(scope="module")
def alike():
    encoders = {name: rl.build_encoder("vit_micro", 32, patch_size=8) for name in ("one", "two")}
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return encoders, images, Alike.compute(encoders, lambda x: x - 0.5, images, shown=3)


def test_the_matrices_are_the_cosines_of_the_shown_image(alike):
    encoders, images, view = alike
    assert view.grid == 4 and set(view.raw) == set(view.centred) == {"one", "two"}
    with torch.no_grad():
        taps = encoders["two"](images - 0.5).taps
    for matrix, centred, tap in zip(view.raw["two"], view.centred["two"], taps, strict=True):
        assert off_diagonal(matrix) == pytest.approx(float(patch_cosine(tap[3:4])), abs=1e-5)
        moved = tap - tap.mean((0, 2, 3), keepdim=True)
        assert off_diagonal(centred) == pytest.approx(float(patch_cosine(moved[3:4])), abs=1e-5)
        assert np.allclose(matrix.diagonal(), 1, atol=1e-5)


def test_cosines_of_a_case_built_by_hand():
    tap = torch.tensor([[[1.0, 0.0], [-2.0, 3.0]], [[0.0, 1.0], [0.0, 3.0]]])  # (2, 2, 2)
    half = 0.5**0.5
    expected = [[1, 0, -1, half], [0, 1, 0, half], [-1, 0, 1, -half], [half, half, -half, 1]]
    assert np.allclose(cosines(tap), expected, atol=1e-6)
    assert off_diagonal(cosines(tap)) == pytest.approx((-1 + half) / 6, abs=1e-6)


def test_the_figure_shows_the_chosen_patch_and_the_sentence_its_mean(alike, move_all):
    *_, view = alike
    figure = view.figure(row=1, column=2, centred=True)
    shown = np.asarray(figure.axes[1].images[0].get_array())
    assert np.allclose(shown, view.centred["one"][0][6].reshape(4, 4))
    assert [axis.get_title() for axis in figure.axes[:5]] == ["", "tap 1", "tap 2", "tap 3", "tap 4"]
    last = view.raw["one"][-1]
    assert f"one {(last[0].sum() - 1) / 15:.2f} (all pairs {off_diagonal(last):.2f})" in view.describe(0, 0)
    assert png(view.figure(0, 0)).startswith(b"\x89PNG")
    move_all(view.widget(), lambda v: view.describe(**v))
