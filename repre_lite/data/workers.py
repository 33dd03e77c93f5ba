"""Worker processes that make the items of a data set ahead of their use, in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ..runtime.errors import UserError


def items(dataset: Dataset, wanted: Sequence[int], workers: int, pinned: bool = False) -> Iterator[Any]:
    """`dataset[i]` for every i in `wanted`, made by so many processes (0: in this one), as tensors in pinned memory if
    asked for. Raises the UserError an item raises, and one where a process dies."""
    workers = min(workers, _cores(), len(wanted))
    with watched():
        loader: DataLoader = DataLoader(
            _ErrorsToo(dataset),
            batch_size=None,
            sampler=wanted,
            num_workers=workers,
            pin_memory=pinned,
            prefetch_factor=None if workers == 0 else 2 if workers == 1 else 1,  # items may be large
            # spawned, because a forked child of a process with threads or CUDA may hang
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_leave_signals_to_the_parent,
        )
        for item in loader:
            if isinstance(item, UserError):
                raise item
            yield item


@contextmanager
def watched() -> Iterator[None]:
    """Say in one line that a worker process died. torch raises the news from a signal handler, so it may come anywhere."""
    try:
        yield
    except (RuntimeError, BrokenPipeError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(
            "a process that reads pictures died: killed, out of memory or /dev/shm too small; give fewer --workers, or 0 to "
            "read in the main process. (A script that trains needs `if __name__ == '__main__':`.)"
        ) from None


class _ErrorsToo(Dataset):
    """Items of a data set, or the UserError that came instead, which torch would bury in a traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except UserError as error:
            return error


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and a queue's SIGTERM reach all processes; the parent needs the workers until it has finished its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
