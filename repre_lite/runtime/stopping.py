"""A clean end after SIGINT or SIGTERM: the signal is collected, the step finished, everything saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from . import distributed

PATIENCE = 5.0  # seconds: torchrun kills its processes 30 seconds after a signal, and saving takes time too


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are collected instead of ending the process, if this is the main thread."""
    received: list[int] = []
    held = {}
    for signum in (signal.SIGINT, signal.SIGTERM):
        try:
            held[signum] = signal.signal(signum, lambda number, frame: received.append(number))
        except ValueError:  # not the main thread
            break
    try:
        yield received
    finally:
        for signum, handler in held.items():
            signal.signal(signum, handler)


def steps_between(per_second: float, device: torch.device) -> int:
    """How many steps may pass from one agreement to the next, the same in all processes: those of PATIENCE seconds.

    `per_second`: how many steps are taken. All processes must call it.
    """
    if distributed.world_size() == 1:
        return 1
    mine = max(1, min(50, int(PATIENCE * per_second)))
    return int(distributed.all_min(torch.tensor(mine, device=device)))


def agreed(received: Sequence[int], device: torch.device, now: bool) -> int:
    """The signal to stop for, or 0.

    Several processes must stop at the same step, so they agree at the steps with `now`, the same in all of them.
    """
    if distributed.world_size() == 1:
        return received[0] if received else 0
    if not now:
        return 0
    mine = torch.tensor(float(received[0]) if received else 0.0, device=device)
    return int(distributed.all_sum(mine)) and (received[0] if received else int(signal.SIGTERM))
