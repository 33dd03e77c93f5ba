"""Drawing helpers: a figure without a window, images, legends, outlines.

Names of classes, runs and files come from outside, so they are drawn as plain text.
"""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.text import plain_text
from .extra import extra

if TYPE_CHECKING:
    from matplotlib import figure as mpl
else:
    mpl = extra("matplotlib.figure")


class Figure(mpl.Figure):
    """A matplotlib figure that belongs to no window and needs no backend; a notebook shows it as a PNG."""

    def __init__(self, width: float, height: float, layout: str = "compressed") -> None:
        """`width`, `height` in inches; `layout`: "compressed" for images, "constrained" for plots."""
        super().__init__(figsize=(width, height), layout=layout)  # type: ignore[arg-type]

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: mpl.Figure, dpi: int = 100) -> bytes:
    """A figure as PNG bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def svg(figure: mpl.Figure, label: str) -> str:
    """A figure as inline SVG. What is black takes the colour of the page's text, so it is legible in light and in dark;
    `label` says what it shows."""
    stream = io.StringIO()
    look = {"svg.fonttype": "none", "svg.hashsalt": "repre-lite"}
    with warnings.catch_warnings(), extra("matplotlib").rc_context(look):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the text stays text, which the reader's fonts show
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawn = stream.getvalue()
    drawn = re.sub("<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    drawn = drawn.replace("#000000", "currentColor")
    mark = f"f{zlib.crc32(drawn.encode()):x}-"  # ids must differ from those of other figures
    drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{mark}", drawn)
    name = html.escape(plain_text(label))
    drawn = drawn.replace("<svg", f'<svg fill="currentColor" role="img" aria-label="{name}"', 1)
    return f"<figure>{drawn}</figure>"


def still(figure: mpl.Figure, label: str) -> str:
    """A figure as an inline PNG; `label` says what it shows."""
    data = base64.b64encode(png(figure)).decode()
    return f'<img alt="{html.escape(plain_text(label))}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def show_image(axis: Any, image: np.ndarray, title: str = "", **options: Any) -> Any:
    """Draw an image (H, W, 3) or a map (h, w) without ticks. `options` go to `imshow`; returns what it returns."""
    shown = axis.imshow(image, interpolation="nearest", **options)
    axis.set(xticks=[], yticks=[])
    axis.set_title(plain_text(title), fontsize=9, parse_math=False)
    return shown


def legend(owner: Any, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """A legend of a figure or an axis. `names` are drawn as they are: no `$` starts a formula, no leading underscore
    hides an entry."""
    made = owner.legend(handles, ["name"] * len(handles), frameon=False, **options)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set(text=plain_text(name), parse_math=False)


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map (h, w) as (height, width): each pixel has the value of the patch that covers it."""
    h, w = values.shape
    covering: np.ndarray = values[np.arange(height) * h // height][:, np.arange(width) * w // width]
    return covering


def outline(
    axis: Any, rectangle: Sequence[float] | np.ndarray, colour: str = "white", border: str = "black", line: str = "-"
) -> None:
    """Outline top, left, height, width in pixels of the image on `axis`; the border makes the line visible on any."""
    patches = extra("matplotlib.patches")
    top, left, height, width = rectangle
    corner = (left - 0.5, top - 0.5)  # the first pixel's centre is at 0
    for edge, thickness in ((border, 3.2), (colour, 1.8)):
        style = {"edgecolor": edge, "linewidth": thickness, "linestyle": line}
        axis.add_patch(patches.Rectangle(corner, width, height, fill=False, **style))


def absolute_error(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean over colours of the absolute difference of two images: (..., H, W, 3) -> (..., H, W)."""
    error: np.ndarray = np.abs(one - other).mean(-1)
    return error


def shrink(limit: int, *stacks: np.ndarray) -> list[np.ndarray]:
    """Images (..., H, W, 3) with sides halved until, at a byte a value, all of them take `limit` bytes or less."""
    made = list(stacks)
    while sum(stack.size for stack in made) > limit and all(
        side % 2 == 0 for stack in made for side in stack.shape[-3:-1]
    ):
        made = [
            stack.reshape(*stack.shape[:-3], stack.shape[-3] // 2, 2, stack.shape[-2] // 2, 2, 3).mean((-4, -2))
            for stack in made
        ]
    return made
