"""Batches: every image once an epoch, the same for one process and for several, by step alone."""

import pytest
import torch

from repre_lite.data.loaders import Batches
from repre_lite.runtime.errors import UserError


def test_an_epoch_is_a_permutation_and_epochs_differ():
    batches = Batches(20, 4, seed=0)
    epochs = [torch.cat([batches.rows(e * 5 + i)[0] for i in range(5)]) for e in range(2)]
    assert batches.steps_per_epoch == 5
    assert sorted(epochs[0].tolist()) == list(range(20)) and not torch.equal(*epochs)


def test_any_step_can_be_asked_for_first():
    assert torch.equal(Batches(20, 4, seed=0).rows(7)[0], [Batches(20, 4, seed=0).rows(s) for s in range(8)][7][0])


def test_processes_share_a_batch():
    whole, rows = Batches(20, 6, seed=1).rows(2)
    parts = [Batches(20, 6, seed=1, rank=r, world=3).rows(2) for r in range(3)]
    assert torch.equal(torch.cat([p[0] for p in parts]), whole) and torch.equal(torch.cat([p[1] for p in parts]), rows)


def test_a_batch_too_large_or_uneven_is_an_error():
    with pytest.raises(UserError, match="batch_size=30 is larger"):
        Batches(20, 30, 0)
    with pytest.raises(UserError, match="multiple of 4"):
        Batches(20, 6, 0, world=4)
