"""Weights at rest, against the objective itself."""

import math

import numpy as np
import pytest
import torch

from repre_lite.losses import UncertaintyWeighting
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.balance import Balance

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(("contrastive", "reconstruction"), [(2.0, 0.1), (5.0, 1.0), (0.3, 1e-4)])
def test_weights_at_rest_are_where_the_objective_is_lowest(contrastive, reconstruction):
    weighting = UncertaintyWeighting()
    one, two, total = Balance.compute(weighting).rest(contrastive, reconstruction)
    assert weighting(torch.tensor(contrastive), torch.tensor(reconstruction)).item() == pytest.approx(total, abs=1e-5)
    assert weighting.weights.tolist() == pytest.approx([one, two], rel=1e-5)
    for s in np.linspace(-5, 3, 50):  # the floor is -5: no other place is lower
        rest = max(math.log(reconstruction), -5)
        assert (math.exp(-s) * reconstruction + s) >= (math.exp(-rest) * reconstruction + rest) - 1e-9


def test_balance_figure_sentence_and_widget(move_all):
    balance = Balance()
    assert png(balance.figure()).startswith(PNG)
    assert "losses 2 and 0.1" in balance.describe() and "0.25 and 5.00, a ratio of 20.0" in balance.describe()
    assert png(balance.figure(0.01, 10)).startswith(PNG) and "0.01 and 10" in balance.describe(0.01, 10)
    move_all(balance.widget(), lambda values: balance.describe(*(round(value, 4) for value in values.values())))


def test_balance_marks_the_weights_at_rest():
    balance = Balance()
    marks = balance.figure(2.0, 1e-4).axes[1].lines[1:]
    assert [float(mark.get_ydata()[0]) for mark in marks] == pytest.approx(balance.rest(2.0, 1e-4)[:2])
