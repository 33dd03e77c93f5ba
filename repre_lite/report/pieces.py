"""The parts of a page: sections, tables, images."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..runtime.text import plain_text


def text(content: str) -> str:
    """Text for HTML, safe for names from outside: markup characters are escaped, characters that cannot be shown replaced."""
    return html.escape(plain_text(content))


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself on a narrow page; the first cell of a row is its heading."""
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "\n".join(
        f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    name = text(caption)
    return (
        f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table><caption>{name}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def plot(drawn: str, name: str) -> str:
    """A figure, HTML, that scrolls by itself on a narrow page; `name`: text, what it is."""
    return f'<div class="plot" role="region" aria-label="{text(name)}" tabindex="0">{drawn}</div>'


def image(pixels: np.ndarray, label: str) -> str:
    """An image (H, W, 3) in [0, 1], clipped, as an inline PNG; `label` says what it shows."""
    stream = io.BytesIO()
    Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8)).save(stream, "png")
    return f'<img alt="{text(label)}" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
