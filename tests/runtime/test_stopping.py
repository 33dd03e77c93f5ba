"""Several processes agree to stop within seconds, however long a step takes."""

import pytest
import torch

from repre_lite.runtime import distributed
from repre_lite.runtime.stopping import agreed, steps_between

CPU = torch.device("cpu")


@pytest.mark.parametrize(("per_second", "between"), [(100.0, 50), (2.0, 10), (0.3, 1), (0.01, 1)])
def test_agreements_are_seconds_apart(per_second, between, monkeypatch):
    assert steps_between(per_second, CPU) == 1  # a process alone asks nobody
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_min", lambda x: x)
    assert steps_between(per_second, CPU) == between


def test_the_slowest_process_decides(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_min", lambda x: torch.minimum(x, torch.tensor(7)))
    assert steps_between(100.0, CPU) == 7


def test_a_process_without_the_signal_stops_with_the_others(monkeypatch):
    assert agreed([2], CPU, now=False) == 2  # alone: at once
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_sum", lambda x: x + 15)
    assert agreed([], CPU, now=True) == 15 and agreed([2], CPU, now=True) == 2
    assert agreed([2], CPU, now=False) == 0
