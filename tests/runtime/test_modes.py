"""Evaluation of a network in the middle of its training leaves no trace in it."""

import pytest
import torch
from torch import nn

import repre_lite as rl
from repre_lite import evaluation
from repre_lite.evaluation.attention import attention_blocks, watched
from repre_lite.runtime.modes import evaluating
from repre_lite.visualize.levels import Levels
from repre_lite.visualize.similarity import _moment


def test_every_part_is_back_in_its_mode_whatever_happens():
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval(), nn.Linear(2, 2))
    with pytest.raises(KeyError), evaluating(network):
        assert not any(part.training for part in network.modules())
        raise KeyError
    assert [part.training for part in network.modules()] == [True, True, False, True]


@pytest.mark.parametrize("use", ["extract", "diversity", "levels", "similarity", "attention"])
def test_a_frozen_backbone_stays_in_evaluation_mode(use):
    """The encoder around it is in training mode, as every new module is, and would have taken it along."""
    encoder = rl.TappedEncoder(rl.build_encoder("vit_micro", 32, drop_path=0.2).backbone.eval(), 32)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = [part.training for part in encoder.modules()]
    assert before[0] and not any(before[1:])
    if use == "extract":
        evaluation.extract(encoder, images, (0.5,) * 3, (0.5,) * 3)
    elif use == "diversity":
        evaluation.measure_diversity(encoder, images, (0.5,) * 3, (0.5,) * 3)
    elif use == "levels":
        Levels.compute(encoder, images / 255, images / 255 - 0.5)
    elif use == "similarity":
        _moment(encoder, images / 255 - 0.5)
    else:
        with watched(encoder, attention_blocks(encoder), [{} for _ in attention_blocks(encoder)]):
            encoder(images / 255 - 0.5)
    assert [part.training for part in encoder.modules()] == before
