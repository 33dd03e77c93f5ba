"""Diagrams of lesson 01: the path of a view, and the crops of two views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..kit import palette
from ..kit.drawing import Figure, outline
from ..kit.extra import extra
from .card import INK, LINE, Card

STEP, SIDE = 1.3, 0.92  # from image to image, and of an image, in inches


def view_path(stages: Mapping[str, Tensor], normalised: Tensor) -> Figure:
    """How a view is made, and where the two ways part: to the decoder's target, and to the encoder.

    `stages`: what is done -> the image (3, H, W) in [0, 1] after it; the last is the view. `normalised`: the view as the
    encoder reads it, clipped for display.
    """
    names, count = list(stages), len(stages)
    card = Card(STEP * (count + 2) + 0.1, 2.45)
    places = [(STEP * (i + 0.5), 1.55) for i in range(count)]
    for i, (name, place) in enumerate(zip(names, places, strict=True)):
        card.image(place, SIDE, pixels(stages[name]))
        card.text((place[0], 2.2), name, weight="bold" if i == count - 1 else "normal")
        if i:
            card.arrow([(places[i - 1][0] + SIDE / 2 + 0.04, 1.55), (place[0] - SIDE / 2 - 0.04, 1.55)])
    x = places[-1][0]
    card.arrow([(x, 1.55 - SIDE / 2 - 0.04), (x, 0.42), (x + 0.86, 0.42)], palette.VERMILLION, "--")
    card.box((x + 1.75, 0.42), (1.75, 0.5), "target of the L1 loss\n(equation 3)", palette.VERMILLION, line="--")
    end = x + STEP
    card.arrow([(x + SIDE / 2 + 0.04, 1.55), (end - SIDE / 2 - 0.04, 1.55)], palette.BLUE)
    card.image((end, 1.55), SIDE, pixels(normalised.clamp(0, 1)))
    card.text((end, 2.2), "normalised", colour=palette.BLUE)
    card.arrow([(end + SIDE / 2 + 0.04, 1.55), (end + 0.76, 1.55)], palette.BLUE)
    card.box((end + 1.15, 1.55), (0.74, 0.5), "encoder", palette.BLUE)
    return card.figure


def two_crops(one: Sequence[int], other: Sequence[int], side: int = 32) -> Figure:
    """Two crops of an image of `side` x `side` pixels, each given by top, left, height, width, with the lengths named."""
    figure = Figure(4.4, 3.5, "constrained")
    figure.set_facecolor("white")
    axis = figure.subplots()
    axis.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), aspect="equal", facecolor="white")
    axis.tick_params(colors=INK, labelsize=9)
    axis.set_xlabel("left", color=INK)
    axis.set_ylabel("top", color=INK)
    (top, left, height, width), style = one, palette.VIEWS[0]
    arrows: dict[str, Any] = {"arrowstyle": "<->", "color": style.colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    for box, view in zip((one, other), palette.VIEWS, strict=True):
        outline(axis, box, view.colour, "white", view.line)
    axis.annotate("", (left, top + 2), (left + width - 1, top + 2), arrowprops=arrows)
    axis.annotate("", (left + 2, top), (left + 2, top + height - 1), arrowprops=arrows)
    axis.text(left + width / 2, top + 3.6, "width", color=style.colour, fontsize=9, ha="center")
    axis.text(left + 2.6, top + height * 0.72, "height", color=style.colour, fontsize=9)
    axis.plot(left, top, "o", color=style.colour)
    axis.annotate(f"top {top}, left {left}", (left, top), (left, top - 1.2), color=style.colour, fontsize=9)
    start, end = (
        [f(a, b) for a, b in zip(first, second, strict=True)]
        for f, first, second in (
            (max, one[:2], other[:2]),
            (min, (top + height, left + width), (other[0] + other[2], other[1] + other[3])),
        )
    )
    hatched = extra("matplotlib.patches").Rectangle
    corner, size = (start[1] - 0.5, start[0] - 0.5), (end[1] - start[1], end[0] - start[0])
    axis.add_patch(hatched(corner, *size, facecolor="none", edgecolor=LINE, hatch="//", linewidth=0))
    axis.text(start[1] + size[0] / 2, start[0] + size[1] / 2, "in both", color=INK, fontsize=9, ha="center", va="center",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    return figure


def pixels(image: Tensor) -> Any:
    """(3, H, W) -> (H, W, 3) for drawing."""
    return image.detach().cpu().permute(1, 2, 0).numpy()
