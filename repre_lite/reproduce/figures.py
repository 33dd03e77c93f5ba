"""Figures 3 and 4, and that of `local`, from finished cells, as HTML for the page of their table."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.pieces import plot, text
from ..runs import load_run
from ..runtime.progress import say
from ..visualize.kit.extra import MissingExtraError
from .cells import Table, primary
from .folders import BROKEN, done, folder_of, summary_of
from .measures import MEASURES
from .tables import Result, results

SEED = 0  # whose runs figure 4 shows


def figure(table: Table, out: Path) -> str:
    """The figure of `figure3`, `figure4`, `local` or `ablations` as HTML.

    Empty for other tables, and if its cells or packages are not there.
    """
    try:
        if table.name == "figure3":
            return _improvements(table, results(table, out))
        if table.name == "figure4":
            return _attention_and_map(table, out)
        if table.name == "local":
            return _differences(results(table, out))
        if table.name == "ablations":
            return _choices(table, results(table, out))
    except MissingExtraError as error:
        say(f"{table.name}: left out, {error}")
    return ""


def _improvements(table: Table, held: Sequence[Result]) -> str:
    """Our differences with their intervals as bars, the paper's as marks."""
    from ..visualize.kit import palette
    from ..visualize.kit.drawing import Figure, svg

    measure = table.measures[0]
    shown = [r for r in held if r.measure == measure and r.found is not None and r.found.mean is not None]
    if not shown:
        return ""
    figure = Figure(7, 0.42 * len(shown) + 1.3, "constrained")
    axis: Any = figure.subplots()
    rows = range(len(shown))
    means = [100 * result.found.mean for result in shown if result.found and result.found.mean is not None]
    halves = [100 * (result.found.half or 0.0) for result in shown if result.found]
    axis.barh(rows, means, xerr=halves, color=palette.FAINT, ecolor=palette.ink(), capsize=3, label="ours")
    axis.plot([result.reported for result in shown], rows, "D", **{"color": palette.ink()}, label="paper, ImageNet-1K")
    axis.axvline(0, color=palette.ink(), linewidth=0.8)
    axis.set_yticks(list(rows), [" ".join(result.line.labels[:2]) for result in shown])
    axis.invert_yaxis()
    axis.set_xlabel(f"{MEASURES[measure].label}: with RePre minus without, in points")
    axis.legend(frameon=False, fontsize=9)
    said = f"{MEASURES[measure].label}, with RePre minus without, by framework and encoder"
    return plot(svg(figure, said), "Improvements")


def _differences(held: Sequence[Result]) -> str:
    """What each arm gains or loses in recognition."""
    from ..visualize.kit.drawing import Figure, svg
    from .differences import draw, of

    found = of(held)
    if not found:
        return ""
    figure = Figure(7, 0.55 * len({one.measure for one in found}) + 1.5, "constrained")
    axis: Any = figure.subplots()
    draw(axis, found)
    axis.set_xlabel("difference with its interval, points; filled if 0 is outside")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return plot(svg(figure, "The difference of each arm to detached, with its interval, by measure"), "Differences")


def _choices(table: Table, held: Sequence[Result]) -> str:
    """What each choice makes of the difference between the framework with and without the branch."""
    from ..visualize.kit.drawing import Figure, svg
    from .differences import CHOSEN, draw_choices, of

    found = of(held)
    if not found:
        return ""
    measures = [name for name in CHOSEN if name in table.measures]
    figure = Figure(10, 0.36 * len({one.labels for one in found}) + 1.5, "constrained")
    axes = figure.subplots(1, len(measures), sharey=True)
    draw_choices(axes, found, measures, primary()["seeds"])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    said = "With RePre minus without, with its interval, by choice and measure; filled if 0 is outside"
    return plot(svg(figure, said), "Choices")


def _attention_and_map(table: Table, out: Path) -> str:
    """Where the class token looks, and t-SNE, of one seed's runs."""
    from ..visualize.figure4 import Figure4
    from ..visualize.kit.drawing import png

    held = {cell.line: cell for cell in table.cells if cell.seed == SEED}
    if not all(done(cell, out) and BROKEN not in summary_of(cell, out) for cell in held.values()):
        return ""
    runs = {line.labels[0]: load_run(folder_of(held[line.name], out)) for line in table.lines}
    made = Figure4.compute(runs)
    data = base64.b64encode(png(made.figure(), 130)).decode()
    said = made.describe()
    return (
        f'<figure><img style="max-width: 100%" alt="{text(said)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text(said)}</figcaption></figure>"
    )
