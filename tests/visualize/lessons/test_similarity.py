"""Cosines, softmax and loss, against equation 1."""

import math

import numpy as np
import pytest
import torch

from repre_lite import losses
from repre_lite.evaluation.collapse import embedding_std
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.similarity import Similarity

PNG = b"\x89PNG\r\n\x1a\n"


def test_similarity_is_equation_1_and_moves_with_the_temperature(move_all):
    q, k = torch.randn(5, 8), torch.randn(5, 8)
    view = Similarity.compute(q, k)
    for temperature in (0.05, 0.2, 2.0):
        assert view.loss(temperature) == pytest.approx(float(losses.info_nce(q.double(), k.double(), temperature)))
        assert np.allclose(view.shares(temperature).sum(1), 1)
        logits = q @ k.T / (q.norm(dim=1)[:, None] * k.norm(dim=1)) / temperature
        each = torch.nn.functional.cross_entropy(logits, torch.arange(5), reduction="none")
        assert np.allclose(view.losses(temperature), each, atol=1e-4)
    assert view.std == pytest.approx(embedding_std(q)) and f"spread {view.std:.2f} of 1" in view.describe()
    figure = view.figure()
    boxes = {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in figure.axes[1].patches}
    assert boxes == {(i - 0.5, i - 0.5, 1, 1) for i in range(5)}  # positives are outlined
    assert np.allclose([bar.get_width() for bar in figure.axes[2].patches], view.losses(0.2))
    assert png(figure).startswith(PNG)
    move_all(view.widget(), lambda v: view.describe(v["temperature"]))


def test_similarity_shows_a_collapse():
    q = torch.ones(5, 8) + 1e-4 * torch.randn(5, 8)
    view = Similarity.compute(q, q)
    assert view.std < 0.01 and view.loss(0.2) == pytest.approx(math.log(5), abs=1e-3)
