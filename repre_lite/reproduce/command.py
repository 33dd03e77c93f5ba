"""`repre-lite reproduce`: run the cells of a table, write the table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..runtime import distributed
from ..runtime.device import set_threads
from ..runtime.errors import UserError
from ..runtime.lock import InUseError, locked
from ..runtime.progress import say
from .cells import Cell, Table
from .figures import figure
from .folders import BROKEN, check, done, left, summary_of
from .grid import table
from .measures import MEASURES, missing
from .progress import costs, lengths, share
from .runner import run_cells
from .tables import markdown, results, write


def reproduce(
    name: str,
    out: str,
    scale: str = "scenes",
    seeds: int | None = None,
    only: str | None = None,
    jobs: int = 1,
    dry_run: bool = False,
    **overrides: Any,
) -> int:
    """Run what is missing of a table's cells in `out`/cells, then write `out`/NAME-SCALE.md, .csv, .html and .cells.csv.

    `only`: a pattern of the names of cells, such as `*moby*`; the table then shows the cells that are finished.
    `dry_run`: print the cells and their cost, and do nothing. `overrides`: of every recipe. Returns an exit status.
    """
    set_threads()
    wanted = table(name, scale, seeds, **overrides)
    chosen = [cell for cell in wanted.cells if only is None or fnmatchcase(cell.name, only)]
    if not chosen:
        raise UserError(f"only={only}: no cell matches; dry_run=True lists the cells, such as {wanted.cells[0].name}")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out={out}: is a file; choose another folder")
    if dry_run:
        check(chosen, folder)
        say(plan(wanted, chosen, folder))
        return 0
    if wanted.name in ("table2", "table3") and scale == "imagenet1k" and overrides.get("transfer_data") is None:
        needed = {"table2": "COCO", "table3": "Cityscapes"}[wanted.name]
        raise UserError(f"scale=imagenet1k: {wanted.name} needs transfer_data=, the folder of {needed}")
    if distributed.is_main():
        for key, why in missing(wanted.measures).items():
            print(f"{MEASURES[key].label}: left out, {why}", flush=True)
    run_cells(chosen, folder, jobs)
    if distributed.is_main():
        paths = write_table(wanted, folder)
        print(markdown(wanted, results(wanted, folder), folder))
        print("written: " + ", ".join(map(str, paths)))
        elsewhere = sum(not done(cell, folder) for cell in chosen)
        if elsewhere:
            print(f"cells that other processes are running: {elsewhere}; the last to finish writes the whole table")
    return 0


def write_table(wanted: Table, out: Path) -> list[Path]:
    """Write the table's files; of several processes that finish together the last one writes what all of them have done."""
    with _alone(out):
        return write(wanted, out, figure(wanted, out))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A lock: only one process at a time is inside; others wait."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except InUseError:
                time.sleep(0.2)
        yield


def plan(wanted: Table, chosen: Sequence[Cell], out: Path) -> str:
    """The cells `chosen`, their state and their cost, as text."""
    steps = lengths(chosen)
    cost = costs(chosen, steps)
    lines = [f"{wanted.title}, {wanted.scale}: {len(chosen)} cells", wanted.note]
    width = max(len(cell.name) for cell in chosen)
    for cell in chosen:
        lines.append(f"{cell.name:{width}s}  {steps[cell.name]:>8,} steps  {cost[cell.name]:>12,} GFLOP  "
                     f"{_state(cell, out)}")  # fmt: skip
    there = {cell.name: share(cell, out) for cell in chosen}
    rest = sum(round((1 - there[name]) * cost[name]) for name in cost)
    lines.append(f"left to train: {rest:,} of {sum(cost.values()):,} GFLOP, counted; evaluation is not included")
    trained = [(cost[cell.name], seconds) for cell in chosen if (seconds := _seconds(cell, out))]
    if trained and rest:
        rate = sum(gflop for gflop, _ in trained) / sum(seconds for _, seconds in trained)
        lines.append(f"at the {rate:,.1f} GFLOP/s of the {len(trained)} finished cells: {rest / rate / 3600:,.1f} "
                     "hours on one process")  # fmt: skip
    lines += [f"{MEASURES[key].label}: left out, {why}" for key, why in missing(wanted.measures).items()]
    return "\n".join(lines)


def _state(cell: Cell, out: Path) -> str:
    rest = left(cell, out)
    if BROKEN in summary_of(cell, out):
        return "failed"
    if rest is None:
        done_share = share(cell, out)
        return f"{done_share:.0%} trained" if done_share else "to do"
    return f"trained; still to measure: {', '.join(rest)}" if rest else "done"


def _seconds(cell: Cell, out: Path) -> float:
    """Seconds of a finished training, 0 if it is not finished."""
    found = summary_of(cell, out)
    return float(found.get("wall_seconds", 0.0)) if found.get("finished") else 0.0
