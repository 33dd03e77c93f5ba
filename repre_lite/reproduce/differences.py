"""Paired differences and their intervals as a figure: a row for each measure, a mark for each line of the table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ..visualize.kit import palette
from .measures import MEASURES
from .tables import Result

STEP = 0.22  # between the lines of a row, in rows


@dataclass(frozen=True)
class Difference:
    """The mean difference of the line `name` to its base in a measure, with its interval, in points of 100."""

    measure: str
    name: str
    mean: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def read(path: Path) -> list[Difference]:
    """The differences of a TABLE-SCALE.csv that have an interval, of the measures that are fractions of 1."""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = csv.reader(stream)
    lines = [dict(zip(head, row, strict=True)) for row in rows]
    return [
        Difference(line["measure"], line[head[1]], *(100 * float(line[key]) for key in ("difference", "low", "high")))
        for line in lines
        if line["low"] not in ("", "nan") and MEASURES[line["measure"]].kind == "%"
    ]


def of(held: Sequence[Result]) -> list[Difference]:
    """The same from the results of a table."""
    return [
        Difference(one.measure, one.line.labels[0], *(100 * (mean + side * half) for side in (0, -1, 1)))
        for one in held
        if one.found is not None and (mean := one.found.mean) is not None and (half := one.found.half) is not None
        if isfinite(half) and MEASURES[one.measure].kind == "%"
    ]


def draw(axis: Any, found: Sequence[Difference], title: str = "") -> None:
    """Draw the differences on an axis of matplotlib: filled marks where the interval excludes 0, hollow ones elsewhere."""
    measures = list(dict.fromkeys(one.measure for one in found))
    names = list(dict.fromkeys(one.name for one in found))
    for index, name in enumerate(names):
        style = palette.series(index)
        for one in (one for one in found if one.name == name):
            row = measures.index(one.measure) + STEP * (index - (len(names) - 1) / 2)
            axis.plot([one.low, one.high], [row, row], color=style.colour, linewidth=1.5)
            axis.plot(
                one.mean, row, style.marker, color=style.colour, markersize=6,
                markerfacecolor=style.colour if one.shown else "none",
            )  # fmt: skip
        axis.plot([], [], style.marker, color=style.colour, label=name)
    axis.axvline(0, color=palette.ink(), linewidth=0.8)
    axis.set_yticks(range(len(measures)), [MEASURES[name].label.replace(", ", ",\n") for name in measures])
    axis.set_ylim(len(measures) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(title, fontsize=10)
