"""The third part of every view: controls wired to a drawing function. Computing and drawing happen elsewhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from typing import Any

import numpy as np


def png(figure: Any, dpi: int = 100) -> bytes:
    """A matplotlib figure as PNG bytes; the figure is closed."""
    from matplotlib import pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    plt.close(figure)
    return stream.getvalue()


def panel(draw: Callable[..., tuple[Any, str]], **controls: Any) -> Any:
    """Controls above a picture and its sentence.

    `draw` takes the controls' values by their names and returns a figure and one sentence that says what it shows; it
    must not run an encoder. Every control is an ipywidget and so works by keyboard. The box keeps `controls`, `picture`
    and `sentence` for tests.
    """
    import ipywidgets as widgets

    picture = widgets.HTML()
    sentence = widgets.HTML()

    def update(*_: Any) -> None:
        figure, text = draw(**{name: control.value for name, control in controls.items()})
        data = base64.b64encode(png(figure)).decode()
        picture.value = f'<img alt="{html.escape(text)}" style="max-width: 100%" src="data:image/png;base64,{data}">'
        sentence.value = html.escape(text)

    for control in controls.values():
        control.observe(update, names="value")
    update()
    box = widgets.VBox([widgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"}), picture, sentence])
    box.controls, box.picture, box.sentence = controls, picture, sentence
    return box


def strip(axis: Any, picture: Any, title: str = "", **options: Any) -> Any:
    """Show a picture without ticks, titled in readable size."""
    shown = axis.imshow(picture, interpolation="nearest", **options)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=9)
    return shown


def shrink(limit: int, *stacks: np.ndarray) -> list[np.ndarray]:
    """Pictures (..., H, W, 3) with sides halved until, at a byte a value, all of them take `limit` bytes or less."""
    made = list(stacks)
    while sum(stack.size for stack in made) > limit and all(
        side % 2 == 0 for stack in made for side in stack.shape[-3:-1]
    ):
        made = [
            stack.reshape(*stack.shape[:-3], stack.shape[-3] // 2, 2, stack.shape[-2] // 2, 2, 3).mean((-4, -2))
            for stack in made
        ]
    return made
