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
