"""What processes share, in a group of one."""

import warnings

import torch
from torch import nn

from repre_lite.runtime import distributed


def test_a_shared_model_computes_the_same_and_warns_of_nothing(tmp_path):
    model, x = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), torch.randn(4, 2)
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shared = distributed.parallel(model)
        assert torch.equal(shared(x), model(x))
    finally:
        distributed.finish()


def test_batch_norm_over_processes_whose_maps_differ_in_size(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    mine, other = torch.randn(2, 3, 4, 5, generator=draw), 2 + 3 * torch.randn(2, 3, 7, 5, generator=draw)
    both = torch.cat([mine.flatten(2), other.flatten(2)], 2)  # (2, 3, 55)
    mean = both.mean((0, 2))
    theirs = iter(
        [
            torch.cat([other.sum((0, 2, 3)), torch.tensor([70.0])]),
            (other - mean.view(1, 3, 1, 1)).square().sum((0, 2, 3)),
        ]
    )
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_sum", lambda x: x + next(theirs))
    norm, reference = distributed.BatchNorm2d(3), nn.BatchNorm1d(3)
    found, wanted = norm(mine), reference(both)[:, :, :20].view(2, 3, 4, 5)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)
