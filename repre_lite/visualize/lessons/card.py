"""A white card with boxes and arrows, the canvas of the course's diagrams, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kit import palette
from ..kit.drawing import Figure
from ..kit.extra import extra

INK, LINE, PALE = "#1f2328", "#57606a", "#f3f4f6"  # on white, whatever the page's colours are
TINTS = {palette.BLUE: "#dcebf5", palette.VERMILLION: "#fbe6d9", palette.GREEN: "#d9f0e8"}  # a colour's pale form
Point = tuple[float, float]


class Card:
    """A drawing in inches, (0, 0) at the lower left; `figure` is the result. All text has 9 points or more."""

    def __init__(self, width: float, height: float) -> None:
        """`width`, `height` in inches."""
        self.figure = Figure(width, height, "none")
        self.figure.set_facecolor("white")
        self.axis = self.figure.add_axes((0, 0, 1, 1))
        self.axis.set(xlim=(0, width), ylim=(0, height))
        self.axis.set_axis_off()

    def box(self, centre: Point, size: Point, text: str = "", colour: str = LINE, **options: Any) -> None:
        """A rounded box with `text` in its middle. `options`: `fill`, `line`, `width` of its edge, and those of `text`."""
        (x, y), (w, h) = centre, size
        fill = options.pop("fill", TINTS.get(colour, "white"))
        edge: dict[str, Any] = {
            "edgecolor": colour,
            "linewidth": options.pop("width", 1.4),
            "linestyle": options.pop("line", "-"),
        }
        shape = extra("matplotlib.patches").FancyBboxPatch
        round_corners = "round,pad=0,rounding_size=0.06"
        self.axis.add_patch(shape((x - w / 2, y - h / 2), w, h, boxstyle=round_corners, facecolor=fill, **edge))
        if text:
            self.text(centre, text, **options)

    def text(self, at: Point, text: str, size: float = 9, colour: str = INK, **options: Any) -> None:
        """`text` around `at`, or beside it with matplotlib's `ha` and `va`."""
        centred: dict[str, Any] = {"ha": "center", "va": "center", "linespacing": 1.15} | options
        self.axis.text(*at, text, fontsize=size, color=colour, **centred)

    def arrow(self, points: Sequence[Point], colour: str = LINE, line: str = "-", head: str = "-|>") -> None:
        """An arrow along `points`; `head` is one of matplotlib's arrow styles, "-" for none."""
        xs, ys = zip(*points, strict=True)
        self.axis.plot(xs[:-1], ys[:-1], color=colour, linestyle=line, linewidth=1.4, solid_capstyle="butt")
        style: dict[str, Any] = {"arrowstyle": head, "color": colour, "linestyle": line, "linewidth": 1.4}
        style |= {"mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
        self.axis.annotate("", points[-1], points[-2], arrowprops=style)

    def image(self, centre: Point, side: float, image: Any) -> None:
        """An image (H, W, 3) in [0, 1] or a map (h, w), `side` inches wide."""
        (x, y), half = centre, side / 2
        self.axis.imshow(
            image, extent=(x - half, x + half, y - half, y + half), interpolation="nearest", aspect="auto", zorder=2
        )
        width, height = self.figure.get_size_inches()
        self.axis.set(xlim=(0, width), ylim=(0, height))
