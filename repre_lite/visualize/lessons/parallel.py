"""Diagrams of lesson 12: one batch over several processes, and a run that is stopped and resumed."""

from __future__ import annotations

from collections.abc import Sequence

from ..kit import palette
from ..kit.drawing import Figure
from .card import INK, LINE, Card


def processes(count: int, batch_size: int) -> Figure:
    """A batch of `batch_size` images on `count` processes: what each computes for itself, and the three exchanges."""
    card = Card(9.5, 0.72 + 0.78 * count)
    rows = [0.5 + 0.78 * (count - 1 - i) for i in range(count)]
    bottom, top = rows[-1] - 0.3, rows[0] + 0.3
    columns = {"views, encoder": 1.95, "heads": 3.75, "loss": 6.05, "backward": 7.55}
    exchanges = {"batch norm:\nmean, variance": 2.85, "keys": 5.0, "gradients": 8.45}
    card.text((0.62, top + 0.3), f"batch {batch_size}", weight="bold")
    for name, x in exchanges.items():
        card.box((x, (top + bottom) / 2), (0.34, top - bottom), colour=palette.VERMILLION)
        card.text((x, top + 0.3), name, colour=palette.VERMILLION, weight="bold")
    for i, y in enumerate(rows):
        card.box((0.62, y), (1.0, 0.46), f"rows {i * batch_size // count}\nto {(i + 1) * batch_size // count - 1}")
        for name, x in columns.items():
            card.box((x, y), (1.1, 0.46), name, palette.BLUE)
        for start, end in ((1.14, 1.38), (2.52, 3.18), (4.32, 5.48), (6.62, 6.98), (8.12, 8.8)):
            card.arrow([(start, y), (end, y)])
        card.text((9.15, y), "same\nstep")
    return card.figure


def stopped(total: int, checkpoints: Sequence[int], killed: int) -> Figure:
    """A run of `total` steps with `checkpoints`, killed after step `killed`, and its continuation."""
    card = Card(9.5, 1.95)
    last = max(step for step in (0, *checkpoints) if step <= killed)
    left, width = 1.55, 7.3

    def place(step: int) -> float:
        return left + width * step / total

    for y, start, end, name, colour in (
        (1.3, 0, killed, "first start", palette.BLUE),
        (0.7, last, total, "same command", palette.GREEN),
    ):
        card.text((0.12, y), name, ha="left", colour=colour, weight="bold")
        card.box(((place(start) + place(end)) / 2, y), (place(end) - place(start), 0.26), colour=colour)
        for step in (0, *checkpoints):
            if start <= step <= end:
                card.axis.plot([place(step)] * 2, [y - 0.2, y + 0.2], color=INK, linewidth=1.6)
    card.text((place(killed) + 0.08, 1.3), f"killed at {killed}", ha="left", colour=palette.VERMILLION, weight="bold")
    card.arrow([(place(last), 1.08), (place(last), 0.92)], LINE)
    for step in (0, *checkpoints):
        card.text((place(step), 0.3), str(step))
    card.text((0.12, 0.3), "checkpoints", ha="left")
    card.text((place((last + killed) // 2), 1.68), f"{killed - last} steps are done twice")
    return card.figure
