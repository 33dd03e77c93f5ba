"""What the benchmarks share: one core, candidates in turn, ratios with their spread, and where the figures come from."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from repre_lite.runtime.files import write_json
from repre_lite.runtime.provenance import provenance


def pin(core: int | None = None) -> int | None:
    """One torch thread on one core, the last one allowed unless `core` says which; None where the system cannot pin."""
    torch.set_num_threads(1)
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def alternate(
    candidates: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2, device: torch.device | None = None
) -> dict[str, list[float]]:
    """Seconds of every candidate in every round; they take turns, backwards in every other round.

    Processor time of one pinned thread, which does not count what other processes take of the core; on a CUDA `device`
    the time between two of its events.
    """
    clock = _events if device is not None and device.type == "cuda" else _processor
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-warm_up, rounds):
        for name in list(candidates)[:: -1 if number % 2 else 1]:
            taken = clock(candidates[name])
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def _processor(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _events(run: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def count_operations(run: Callable[[], Any]) -> int:
    """How many operations torch dispatches for one call; views of the same memory, which launch nothing, left out."""
    with _Counter() as counter:
        run()
    return counter.count


class _Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += (
            not func.is_view and func.name() != "aten::_unsafe_view"
        )  # a view too, only autograd must not know
        return func(*args, **(kwargs or {}))


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(middle, 4), "q1": round(low, 4), "q3": round(high, 4)}


def ratios(over: list[float], under: list[float]) -> dict[str, float]:
    """Median and quartiles of over / under, round by round."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def shown(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.3f} [{ratio['q1']:.3f}..{ratio['q3']:.3f}]"


def head(core: int | None, device: torch.device | None = None) -> dict[str, Any]:
    """Where the figures of a table come from: machine, versions, threads, date, core and clock."""
    cuda = device is not None and device.type == "cuda"
    clock = "CUDA events" if cuda else "processor time"
    return provenance(device) | {"pinned_to_core": core, "clock": clock}


def write(path: Path | None, table: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, table)
        print(f"written: {path}")
