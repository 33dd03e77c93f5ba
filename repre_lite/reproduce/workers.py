"""Several processes of one command: they share the cells, stop together, and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import torch

from ..runtime.errors import Stopped, UserError
from .cells import Cell

Work = Callable[[Sequence[Cell], Path], None]
STOPPED = "stopped, and every running cell is saved; resume by running the same command"


def side_by_side(work: Work, cells: Sequence[Cell], out: Path, jobs: int) -> None:
    """`work(cells, out)` in `jobs` processes, which claim the cells one by one. They share the visible GPUs evenly.

    Raises UserError for what goes wrong in one of them, after the others have saved and stopped, and Stopped after SIGINT or
    SIGTERM.
    """
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_follow_parent) as pool:
        with _one_thread_each():  # read when a process starts
            running: set[Future[str | None]] = {
                pool.submit(_worker, number, work, cells, out) for number in range(jobs)
            }
        with _forwarded_signals() as received:
            try:
                while running:
                    finished, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in finished:
                        _check(future, bool(received))
            except BaseException:
                _stop_workers()
                raise
    if received:
        raise Stopped(STOPPED, received[0])


def _worker(number: int, work: Work, cells: Sequence[Cell], out: Path) -> str | None:
    """`work` in the process `number` of several."""
    _see_one_gpu(number)
    return _guarded(work, cells, out)


def _guarded(work: Work, cells: Sequence[Cell], out: Path) -> str | None:
    """`work`; a UserError becomes its message, since not every exception can be sent to another process."""
    try:
        work(cells, out)
    except UserError as error:
        return str(error)
    except Stopped:
        return STOPPED
    return None


def _see_one_gpu(number: int) -> None:
    """Hide from this process all GPUs but one, by its number; before it has used any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def _check(future: Future[str | None], asked: bool) -> None:
    """Raise what went wrong in a worker, unless it was `asked` to stop."""
    try:
        said = future.result()
    except BrokenProcessPool:
        said = "a process ended unexpectedly, perhaps out of memory; run the same command again with fewer jobs="
    if said is not None and not asked:
        raise UserError(said)


def _stop_workers() -> None:
    for child in multiprocessing.active_children():
        child.terminate()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _forwarded_signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are collected and passed on to the workers, which save and stop."""
    received: list[int] = []

    def forward(number: int, frame: Any) -> None:
        received.append(number)
        _stop_workers()

    held = {signum: signal.signal(signum, forward) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in held.items():
            signal.signal(signum, handler)


def _follow_parent() -> None:
    """In a worker: end at once if the process that started it is gone, so that its cell is free."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
