"""What cells cost, and one progress bar over all of them, whoever runs them: read from their folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..planning.costs import step_flops
from ..planning.images import image_count, images_there
from ..runs import METRICS, RECIPE, read_json
from ..runtime import distributed, files
from ..runtime.progress import Progress
from .cells import Cell
from .folders import done, folder_of, left

EVERY = 2.0  # seconds between two looks at the folders


def lengths(cells: Sequence[Cell]) -> dict[str, int]:
    """The steps of each cell's run, before it has begun; by name."""
    there: dict[tuple[str, str | None], int] = {}  # counted once, not for every cell
    steps = {}
    for cell in cells:
        recipe = cell.recipe
        images = recipe.scale, recipe.data
        if recipe.steps is None and images not in there:
            there[images] = images_there(*images)
        steps[cell.name] = recipe.steps or recipe.epochs * (image_count(recipe, there[images]) // recipe.batch_size)
    return steps


def costs(cells: Sequence[Cell], steps: Mapping[str, int]) -> dict[str, int]:
    """GFLOP of each cell's training of that number of `steps`, counted, at least 1; by name. Those of a line are equal.

    Measures are not counted.
    """
    lines: dict[str, int] = {}
    for cell in cells:
        if cell.line not in lines:
            operations = step_flops(cell.recipe) * cell.recipe.batch_size * steps[cell.name]
            lines[cell.line] = max(1, operations // 10**9)
    return {cell.name: lines[cell.line] for cell in cells}


def share(cell: Cell, out: Path) -> float:
    """How much of a cell's training is done, in [0, 1]."""
    if left(cell, out) is not None:
        return 1.0
    folder = folder_of(cell, out)
    lines = files.read_jsonl(folder / METRICS)
    return min(1.0, lines[-1].get("step", 0) / read_json(folder / RECIPE)["total_steps"]) if lines else 0.0


@contextmanager
def watched(cells: Sequence[Cell], out: Path, quiet: bool = False) -> Iterator[None]:
    """Inside, a progress bar shows how much of `cells` is done and the time left."""
    if quiet or not distributed.is_main():
        yield
        return
    cost, waiting, end = costs(cells, lengths(cells)), list(cells), threading.Event()

    def look() -> int:
        """GFLOP that are done."""
        waiting[:] = [cell for cell in waiting if not done(cell, out)]
        missing = sum(round((1 - share(cell, out)) * cost[cell.name]) for cell in waiting)
        return sum(cost.values()) - missing

    def refresh() -> None:
        now = look()
        bar.show({"cells": f"{len(cells) - len(waiting)} of {len(cells)}"})
        bar.update(max(0, now - bar.done))

    def watch() -> None:
        while not end.wait(EVERY):
            refresh()

    with Progress(sum(cost.values()), "GFLOP", initial=look()) as bar:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
            refresh()
