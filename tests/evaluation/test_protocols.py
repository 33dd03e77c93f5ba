"""What holds for every protocol."""

import pytest
import torch

import repre_lite as rl
from repre_lite.evaluation import protocols
from repre_lite.evaluation.source import read_source


def test_too_little_memory_is_one_line(monkeypatch):
    read = read_source("random", "vit_micro", 32, 0)

    def too_large(*arguments, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(protocols, "score_diversity", too_large)
    with pytest.raises(rl.UserError, match="out of memory on the GPU: measure fewer images with train_images="):
        protocols.run_protocols(read, ["diversity"], torch.device("cpu"), "scenes", train_images=8)
