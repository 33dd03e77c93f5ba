"""Weights that do not all fit are refused, with the keys that do not."""

import pytest
import torch

import repre_lite as rl
from repre_lite.runtime.weights import load_whole


def test_weights_that_do_not_all_fit_are_named():
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(rl.UserError) as told:
        load_whole(layer, {"weight": torch.zeros(2, 4), "head.weight": torch.zeros(1)}, "x.pt")
    line = str(told.value)
    assert line.startswith("x.pt: the weights do not fit: 1 missing (bias); 1 unexpected (head.weight)")
    assert "1 of another shape (weight)" in line
    load_whole(layer, {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, "x.pt")
    assert layer.weight.sum() == 6
