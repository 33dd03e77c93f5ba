"""Running the cells that are missing: resumable, side by side, no cell twice and none lost.

What is left to do is read from the folders alone, so the same command resumes after any kill, and any number of processes,
on any number of machines that share the folder, may run it at the same time: each claims a cell by the lock of its folder,
which ends with its process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..evaluation.supervised import MEMORY
from ..runs import merge_summary
from ..runtime import distributed, files
from ..runtime.device import pick_device
from ..runtime.errors import NonFiniteError, UserError
from ..runtime.lock import InUseError, locked
from ..runtime.memory import enough_memory
from ..training.train import train
from .cells import Cell
from .folders import BROKEN, CELLS, check, done, folder_of, left
from .measures import PROTOCOLS, next_protocol
from .progress import watched
from .subject import Subject
from .supervised import train_supervised
from .workers import side_by_side


def run_cells(cells: Sequence[Cell], out: Path, jobs: int = 1, quiet: bool = False) -> None:
    """Run what is missing of `cells`, `jobs` at a time; cells that another command is running are left to it.

    On a CPU every cell has one thread, so that a result does not depend on `jobs`. Raises UserError, and Stopped after
    SIGINT or SIGTERM, when every running cell is saved.
    """
    if jobs < 1:
        raise UserError(f"jobs={jobs}: give 1 or more")
    if jobs > 1 and distributed.launched():
        raise UserError(f"jobs={jobs} cannot be used under torchrun, whose processes share one cell")
    check(cells, out)
    todo = [cell for cell in cells if not done(cell, out)]
    if not todo:
        return
    try:
        (out / CELLS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: {error.strerror}; choose a folder you may write to") from None
    with watched(cells, out, quiet):
        if jobs == 1:
            work(todo, out)
        else:
            side_by_side(work, todo, out, min(jobs, len(todo)))


def work(cells: Sequence[Cell], out: Path) -> None:
    """Do every one of `cells` that no other process is running."""
    device = pick_device(cells[0].recipe.device)
    distributed.start(device)
    with _threads(1) if device.type == "cpu" else contextlib.nullcontext():
        for cell in cells:
            if distributed.from_main(int(distributed.is_main() and _free(cell, out)), device):
                with contextlib.suppress(InUseError):
                    _complete(cell, out, device)


def _free(cell: Cell, out: Path) -> bool:
    """Whether there is something to do in a cell that no other process is doing."""
    folder = folder_of(cell, out)
    if done(cell, out):
        return False
    folder.mkdir(exist_ok=True)  # a folder that exists is locked by `train` before it reads images
    try:
        with locked(folder):
            return True
    except InUseError:
        return False


@enough_memory(MEMORY)
def _complete(cell: Cell, out: Path, device: torch.device) -> None:
    """Train a cell, then measure it, each under the lock of its folder.

    Raises InUseError if another process is running it, and UserError if memory does not suffice.

    A loss or features that are not finite are entered as the cell's result, since they would come again.

    Processes under torchrun follow the main one, even if their file system does not show its files yet.
    """
    folder = folder_of(cell, out)
    try:
        if distributed.from_main(int(left(cell, out) is None), device):
            if cell.supervised:
                _learn_labels(cell, out, device)
            else:
                train(cell.recipe, folder, quiet=True)
        _measure(cell, out, device)
    except NonFiniteError as error:
        if distributed.is_main():
            with locked(folder):
                merge_summary(folder, {BROKEN: str(error)})


def _measure(cell: Cell, out: Path, device: torch.device) -> None:
    folder = folder_of(cell, out)
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            stack.enter_context(locked(folder))
            files.sweep(folder)
        subject = Subject(folder, cell.recipe, cell.transfer_data)
        while (protocol := distributed.from_main(next_protocol(left(cell, out) or ()), device)) >= 0:
            found = PROTOCOLS[protocol].compute(subject)
            if distributed.is_main():
                merge_summary(folder, found)
            subject.keeper.forget()
            distributed.barrier()


def _learn_labels(cell: Cell, out: Path, device: torch.device) -> None:
    folder = folder_of(cell, out)
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            stack.enter_context(locked(folder))
        if distributed.from_main(int(left(cell, out) is None), device):
            train_supervised(cell.recipe, folder)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Inside, torch has `count` threads, also when REPRE_LITE_THREADS is read again."""
    before, said = torch.get_num_threads(), os.environ.get("REPRE_LITE_THREADS")
    torch.set_num_threads(count)
    os.environ["REPRE_LITE_THREADS"] = str(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        del os.environ["REPRE_LITE_THREADS"]
        if said is not None:
            os.environ["REPRE_LITE_THREADS"] = said
