"""What a page is made of: tables, figures in the page's ink, pictures."""

from __future__ import annotations

import base64
import html
import io
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the page is narrow; the first cell of a row names it."""
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    name = html.escape(caption)
    return (
        f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table><caption>{name}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def svg(figure: Any, text: str) -> str:
    """A matplotlib figure as inline SVG, closed. What is black takes the page's text colour, so it reads in light and in
    dark; `text` says what it shows."""
    from matplotlib import pyplot as plt

    stream = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
    mark = f"f{zlib.crc32(drawn.encode()):x}-"  # names inside must not meet those of another figure
    drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{mark}", drawn)
    drawn = drawn.replace("<svg", f'<svg fill="currentColor" role="img" aria-label="{html.escape(text)}"', 1)
    return f"<figure>{drawn}</figure>"


def image(picture: np.ndarray, text: str) -> str:
    """A picture (H, W, 3) in [0, 1], clipped, as an inline PNG; `text` says what it shows."""
    stream = io.BytesIO()
    Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8)).save(stream, "png")
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
