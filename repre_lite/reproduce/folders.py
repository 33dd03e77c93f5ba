"""What is left to do in a cell, read from its folder alone: a run folder `OUT/cells/NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..recipes import identity
from ..runs import RECIPE, SUMMARY, difference, read_json, read_recipe
from ..runtime.errors import UserError
from ..training.resume import resolved
from .cells import Cell
from .measures import TRANSFERRED, transferred_to, wanted_of

CELLS = "cells"
BROKEN = "error"  # the entry of summary.json of a run whose loss was not finite


def folder_of(cell: Cell, out: Path) -> Path:
    """Where a cell lies."""
    return out / CELLS / cell.name


def summary_of(cell: Cell, out: Path) -> dict[str, Any]:
    """The summary of a cell's run; empty if it has none yet."""
    path = folder_of(cell, out) / SUMMARY
    return read_json(path) if path.exists() else {}


def left(cell: Cell, out: Path) -> list[str] | None:
    """The measures that a trained cell lacks, [] if it is done or its run broke off; None if it is not trained yet."""
    found = summary_of(cell, out)
    if BROKEN in found:
        return []
    if not found.get("finished"):
        return None
    return [key for key in wanted_of(cell.recipe, cell.measures) if key not in found]


def done(cell: Cell, out: Path) -> bool:
    """Whether nothing is left to do."""
    return left(cell, out) == []


def check(cells: Sequence[Cell], out: Path) -> None:
    """Raise UserError if a folder holds a run of another recipe under the name of one of the `cells`."""
    for cell in cells:
        folder = folder_of(cell, out)
        if not (folder / RECIPE).exists():
            continue
        there, here = summary_of(cell, out).get(TRANSFERRED), transferred_to(cell.transfer_data)
        if there not in (None, here):
            raise UserError(
                f"out={out}: the cell {cell.name} was transferred to {there}, not to {here}; choose another folder"
            )
        held, wanted = identity(read_recipe(folder)[0]), identity(resolved(cell.recipe))
        if (name := difference(wanted, held)) is not None:
            raise UserError(
                f"out={out}: the cell {cell.name} is of another recipe ({name} is {held.get(name)!r} there, "
                f"{wanted.get(name)!r} here); choose another folder"
            )
