"""Worker processes that make the items of a data set ahead of their use, in order."""

from __future__ import annotations

import atexit
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import active_children, resource_tracker
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ..runtime.errors import UserError

DIED = (
    "a process that reads images died: it was killed, memory ran out or /dev/shm is too small; give fewer workers=, "
    "or workers=0 to read in the main process (a script that trains needs `if __name__ == '__main__':`)"
)


def items(dataset: Dataset[Any], wanted: Sequence[int], workers: int, pinned: bool = False) -> Iterator[Any]:
    """`dataset[i]` for every i in `wanted`, in order, made by `workers` processes (0: in this one).

    `pinned`: tensors come in pinned memory. Raises the UserError of an item, and one if a process dies.
    """
    workers = min(workers, _cores(), len(wanted))
    with watched():
        loader: DataLoader[Any] = DataLoader(
            _ErrorsToo(dataset),
            batch_size=None,
            sampler=wanted,
            num_workers=workers,
            pin_memory=pinned,
            prefetch_factor=None if workers == 0 else 2 if workers == 1 else 1,  # items may be large
            # spawned, because a forked child of a process with threads or CUDA may hang
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_start,
        )
        for item in _started(loader):
            if isinstance(item, UserError):
                raise item
            yield item


@contextmanager
def watched() -> Iterator[None]:
    """Turn torch's errors about a worker process that died, which may be raised at any line, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(DIED) from None


class _ErrorsToo(Dataset[Any]):
    """Items of a data set, or the UserError that was raised instead, which torch would turn into a traceback."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except UserError as error:
            return error


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The items of a loader, whose processes are started, and killed if Python ends with them: `_start` makes them deaf to
    the SIGTERM by which it ends its children."""
    before = set(active_children())
    try:
        with _signals_held():
            made: Iterator[Any] = iter(loader)
    except BrokenPipeError:  # it died at once
        raise UserError(DIED) from None
    for worker in set(active_children()) - before:
        atexit.register(worker.kill)
    return made


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and a queue's SIGTERM: here until the block ends, in processes started inside it for good.

    A process that has not yet reached `_start` would be killed by them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let the signals through when it starts
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _start(worker: int) -> None:
    """Ignore Ctrl-C and a queue's SIGTERM: the parent needs the workers until it has finished its step.

    Pillow's warnings about metadata are silenced, since each worker would print them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")


def _cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
