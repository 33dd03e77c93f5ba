"""Paired differences and their intervals as figures.

`draw`: a row for each measure, a mark for each line of the table. `draw_choices`: a row for each line, an axis for each
measure.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from ..visualize.kit import palette
from .measures import MEASURES
from .tables import Result

STEP = 0.22  # between the lines of a row, in rows
CHOSEN = ("knn_top1", "dense_miou", "patch_cosine", "reconstruction_error")  # measures of `ablations` that are drawn
WIDE = 5.0  # times the median width, beyond which an interval is cut off
MANY, FEW = (palette.series(0), "{} pairs"), (palette.series(1), "fewer pairs: exploratory")


@dataclass(frozen=True)
class Difference:
    """The mean difference of a line to its base in a measure, over `pairs` seeds, with its interval, both NaN for one pair.

    `labels`: the first columns of the line. Accuracies are in points of 100.
    """

    measure: str
    labels: tuple[str, ...]
    pairs: int
    mean: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def read(path: Path) -> list[Difference]:
    """The differences of a TABLE-SCALE.csv."""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = csv.reader(stream)
    lines = [dict(zip(head, row, strict=True)) for row in rows]
    return [
        _difference(
            line["measure"], tuple(line[name] for name in head[1 : head.index("cells")]), int(line["pairs"]),
            *(float(line[key] or nan) for key in ("difference", "low", "high")),
        )
        for line in lines
        if line["difference"]
    ]  # fmt: skip


def of(held: Sequence[Result]) -> list[Difference]:
    """The same from the results of a table."""
    return [
        _difference(one.measure, one.line.labels, one.found.n, mean, mean - half, mean + half)
        for one in held
        if one.found is not None and (mean := one.found.mean) is not None
        for half in [nan if one.found.half is None else one.found.half]
    ]


def _difference(measure: str, labels: tuple[str, ...], pairs: int, *values: float) -> Difference:
    unit = 100 if MEASURES[measure].kind == "%" else 1
    return Difference(measure, labels, pairs, *(unit * value for value in values))


def draw(axis: Any, found: Sequence[Difference], title: str = "") -> None:
    """Draw the accuracies on an axis of matplotlib: filled marks where the interval excludes 0, hollow ones elsewhere."""
    found = [one for one in found if MEASURES[one.measure].kind == "%" and isfinite(one.low)]
    measures = list(dict.fromkeys(one.measure for one in found))
    names = list(dict.fromkeys(one.labels[0] for one in found))
    for index, name in enumerate(names):
        style = palette.series(index)
        for one in (one for one in found if one.labels[0] == name):
            row = measures.index(one.measure) + STEP * (index - (len(names) - 1) / 2)
            _mark(axis, one, row, style)
        axis.plot([], [], style.marker, color=style.colour, label=name)
    _finish(axis, [MEASURES[name].label.replace(", ", ",\n") for name in measures], title)


def draw_choices(axes: Sequence[Any], found: Sequence[Difference], measures: Sequence[str], claims: int) -> None:
    """Draw one measure on each of the axes, with a row for each line; marks as in `draw`.

    Lines with `claims` pairs or more, and those with fewer, which are exploratory, have a colour each. One pair alone has
    no interval. An interval much wider than the others runs off the axis, with an arrow where it does.
    """
    rows = list(dict.fromkeys(one.labels for one in found))
    for axis, measure in zip(axes, measures, strict=True):
        for style, name, enough in ((*MANY, True), (*FEW, False)):
            for one in (one for one in found if one.measure == measure and (one.pairs >= claims) == enough):
                _mark(axis, one, rows.index(one.labels), style)
            axis.plot([], [], style.marker, color=style.colour, label=name.format(claims))
        _limit(axis, [one for one in found if one.measure == measure], rows)
        _finish(axis, [": ".join(labels) for labels in rows], fill(MEASURES[measure].label, 22))
        axis.locator_params(axis="x", nbins=3)
        axis.set_xlabel("points" if MEASURES[measure].kind == "%" else "")


def _mark(axis: Any, one: Difference, row: float, style: palette.Style) -> None:
    if isfinite(one.low):
        axis.plot([one.low, one.high], [row, row], color=style.colour, linewidth=1.5)
    axis.plot(
        one.mean, row, style.marker, color=style.colour, markersize=6,
        markerfacecolor=style.colour if one.shown else "none",
    )  # fmt: skip


def _limit(axis: Any, found: Sequence[Difference], rows: Sequence[tuple[str, ...]]) -> None:
    """Fit a horizontal axis to 0, all means, and all intervals but those `WIDE` times as wide as the median."""
    widths = [one.high - one.low for one in found if isfinite(one.low)]
    widest = WIDE * median(widths) if widths else 0.0
    whole = [one for one in found if one.high - one.low <= widest]
    ends = [
        0.0,
        *(one.mean for one in found if isfinite(one.mean)),
        *(end for one in whole for end in (one.low, one.high)),
    ]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    axis.set_xlim(low, high)
    for one in found:
        row = rows.index(one.labels)
        for edge, marker, beyond in ((low, "<", one.low < low), (high, ">", one.high > high)):
            if beyond:
                axis.plot(edge, row, marker, color=palette.ink(), markersize=5, clip_on=False)


def _finish(axis: Any, rows: Sequence[str], title: str) -> None:
    axis.axvline(0, color=palette.ink(), linewidth=0.8)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(title, fontsize=10)
