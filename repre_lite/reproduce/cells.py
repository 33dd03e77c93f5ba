"""The parts of a table: lines, each a recipe under several seeds, and what is measured of their runs.

A cell is one line under one seed: a run folder. Lines of several tables that are the same run have the same name, so one
folder of cells serves all tables of a scale. The lines of a seed differ only in what their labels say: same initial encoder,
same images, same views.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from typing import Any

from ..recipes import Recipe
from .paper import Place

TABLES = ("table1", "table2", "table3", "table4", "table5", "figure3", "figure4", "local", "ablations")


@dataclass(frozen=True)
class Line:
    """A line of a table. `labels`: its first columns. `changes`: to the recipe of the scale. `base`: the name of the line
    it is compared with. `paper`: by measure, the place of the paper's number and of the one it is compared with."""

    name: str
    labels: tuple[str, ...]
    changes: Mapping[str, Any]
    base: str | None = None
    paper: Mapping[str, tuple[Place, Place | None]] = field(default_factory=dict)
    supervised: bool = False


@dataclass(frozen=True)
class Cell:
    """A line under one seed: a recipe, and the measures that are wanted of its run. `supervised`: it learns the labels.
    `transfer_data`: the images of tables 2 and 3, None for the scenes."""

    name: str
    line: str
    seed: int
    recipe: Recipe
    measures: tuple[str, ...]
    supervised: bool = False
    transfer_data: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of the paper, or ours. `head`: names of the labels. `measures`: keys of summary.json, the paper's first.
    `beside`: a line and its base share a row, as in table 1. `note`: what a reader must know."""

    name: str
    title: str
    scale: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    measures: tuple[str, ...]
    cells: tuple[Cell, ...]
    beside: bool = False
    note: str = ""
    level: float = 0.95

    def of(self, line: str) -> list[Cell]:
        """The cells of a line."""
        return [cell for cell in self.cells if cell.line == line]

    @property
    def stem(self) -> str:
        """What its files are called, without suffix."""
        return f"{self.name}-{self.scale}"


@functools.cache
def primary() -> dict[str, Any]:
    """The primary protocol, written before any of its runs."""
    text = (package_files(__package__) / "primary.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
