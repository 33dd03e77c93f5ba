"""One palette for all figures: Okabe and Ito's colours, and a line style and marker for each role.

Colours differ for colour-blind readers too, and series also differ in line style and marker.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .extra import extra

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # legible on white and on black
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
LINES, MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D", "v")
FAINT = "0.6"  # what is only context: grey in light and in dark

# Options for `matplotlib.rc_context`: figures for a dark page.
DARK = {
    "figure.facecolor": "#0d1117",
    "axes.facecolor": "#0d1117",
    "savefig.facecolor": "#0d1117",
    "text.color": "#e6edf3",
    "axes.labelcolor": "#e6edf3",
    "axes.edgecolor": "#8b949e",
    "xtick.color": "#e6edf3",
    "ytick.color": "#e6edf3",
}

ERROR_RANGE = 0.5  # error maps are dark at 0 and brightest from here on, in every figure


class Style(NamedTuple):
    """How a series is plotted."""

    colour: str
    line: str
    marker: str

    def options(self, marker: bool = True) -> dict[str, Any]:
        """Keyword arguments for matplotlib's `plot`."""
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker if marker else ""}


CONTRASTIVE = Style(BLUE, "-", "o")
RECONSTRUCTION = Style(VERMILLION, "--", "s")
KNN = Style(GREEN, "-.", "^")
VIEWS = (Style(BLUE, "-", "o"), Style(VERMILLION, "--", "s"))  # view 1, the target of equation 3, and view 2


def ink() -> str:
    """The colour of text, for lines that belong to the axes: black, or light in a dark figure."""
    return str(extra("matplotlib").rcParams["text.color"])


def series(index: int) -> Style:
    """The style of the series at `index` of any number: 35 differ."""
    return Style(COLOURS[index % len(COLOURS)], LINES[index % len(LINES)], MARKERS[index % len(MARKERS)])


def error_map() -> dict[str, Any]:
    """Options of `show_image` for absolute errors in [0, 1]."""
    return {"cmap": "cividis", "vmin": 0, "vmax": ERROR_RANGE}


def attention_map(top: float) -> dict[str, Any]:
    """Options of `show_image` for shares of attention from 0 to `top`."""
    return {"cmap": "viridis", "vmin": 0, "vmax": top}


def class_map(count: int, ground: bool = False) -> dict[str, Any]:
    """Options of `show_image` for `count` classes; `ground`: the first is only what lies behind, and is grey."""
    colours = extra("matplotlib").colormaps["tab20"].colors
    colours = [(0.85,) * 3, *colours] if ground else list(colours)
    chosen = [colours[index % len(colours)] for index in range(count)]
    return {"cmap": extra("matplotlib.colors").ListedColormap(chosen), "vmin": -0.5, "vmax": count - 0.5}


def signed_map() -> dict[str, Any]:
    """Options of `show_image` for cosines in [-1, 1]."""
    return {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
