"""The diagrams of lesson 10: the rows of table 4 as decoders, and what pairing by seed removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import stdev

from ..kit import palette
from ..kit.drawing import Figure
from .card import INK, LINE, PALE, Card

ROWS = (("without", ()), ("single", (3,)), ("multi", (0, 1, 2, 3)))  # row of table 4 -> the taps that its decoder reads


def table4_rows() -> Figure:
    """The three rows of table 4: which of four taps the decoder reads. Everything else is the same."""
    card = Card(8.4, 2.5)
    for column, (name, read) in enumerate(ROWS):
        x = 1.35 + 2.8 * column
        card.text((x, 2.3), name, weight="bold")
        for tap in range(4):
            y = 0.75 + 0.4 * tap
            colour = palette.BLUE if tap in read else LINE
            card.box((x - 0.6, y), (0.95, 0.3), f"tap {tap + 1}", colour=colour)
            if tap in read:
                card.arrow([(x - 0.12, y), (x + 0.42, y)], palette.BLUE)
        if read:
            card.box((x + 0.75, 1.35), (0.62, 1.5), "de-\ncoder", colour=palette.VERMILLION)
        else:
            card.text((x + 0.7, 1.35), "no\ndecoder", colour=LINE)
        under = {"without": "contrast alone", "single": "the last tap", "multi": "four taps, deep to shallow"}[name]
        card.text((x, 0.28), under)
    return card.figure


def pairs(values: Mapping[str, Sequence[float]], unit: str = "%") -> Figure:
    """Two arms by seed: left all values of each arm, right the differences of the pairs, on the same scale.

    `values`: name of an arm -> one value for each seed, two arms.
    """
    (first, one), (second, two) = values.items()
    differences = [b - a for a, b in zip(one, two, strict=True)]
    card = Card(8.4, 2.6)
    low, high = min(*one, *two), max(*one, *two)
    below, above = min(0.0, *differences), max(0.0, *differences)
    scale = 3.1 / max(high - low, above - below, 1e-9)
    card.box((2.1, 1.3), (3.9, 1.9), colour=PALE, fill=PALE)
    card.box((6.3, 1.3), (3.9, 1.9), colour=PALE, fill=PALE)
    for y, name, line, colour in ((1.75, first, one, palette.BLUE), (0.95, second, two, palette.VERMILLION)):
        card.text((0.25, y + 0.28), name, ha="left", colour=colour)
        for value in line:
            card.box((0.55 + scale * (value - low), y), (0.12, 0.12), colour=colour, fill=colour)
    for a, b in zip(one, two, strict=True):
        card.arrow([(0.55 + scale * (a - low), 1.68), (0.55 + scale * (b - low), 1.02)], LINE, head="-")
    card.text((2.1, 2.42), "each arm by itself", weight="bold")
    for value in (low, high):
        card.text((0.55 + scale * (value - low), 0.55), f"{value:.1f}", colour=LINE)
    card.text((2.1, 0.17), f"standard deviations {stdev(one):.1f} and {stdev(two):.1f} {unit}")
    zero = 6.3 - scale * (below + above) / 2
    card.axis.plot([zero, zero], [0.5, 2.1], color=INK, linewidth=1)
    card.text((zero, 2.18), "0")
    for index, difference in enumerate(differences):
        card.box((zero + scale * difference, 1.75 - 0.9 * index / max(1, len(differences) - 1)), (0.12, 0.12),
                 colour=palette.GREEN, fill=palette.GREEN)  # fmt: skip
    card.text((6.3, 2.42), f"{second} minus {first}, pair by pair", weight="bold")
    for difference in (min(differences), max(differences)):
        card.text((zero + scale * difference, 0.55), f"{difference:+.1f}", colour=LINE)
    card.text((6.3, 0.17), f"standard deviation {stdev(differences):.1f} {unit}")
    return card.figure
