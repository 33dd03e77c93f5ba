"""The controls of a visual: ipywidgets above a figure and its sentence."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .drawing import png
from .extra import extra

if TYPE_CHECKING:
    from .. import Visual


def panel(visual: Visual, arguments: Callable[..., dict[str, Any]] = dict, **controls: Any) -> Any:
    """Controls above `visual.figure(**values)` and `visual.describe(**values)`; no network runs when they move.

    `controls` are ipywidgets, so they work by keyboard; `values` are theirs, by name, or what `arguments(**values)`
    makes of them. The box keeps `controls`, `image` and `sentence` for tests.
    """
    widgets = extra("ipywidgets")
    image, sentence = widgets.HTML(), widgets.HTML()

    def update(*_: Any) -> None:
        values = arguments(**{name: control.value for name, control in controls.items()})
        text = html.escape(visual.describe(**values))
        data = base64.b64encode(png(visual.figure(**values))).decode()
        image.value = f'<img alt="{text}" style="max-width: 100%" src="data:image/png;base64,{data}">'
        sentence.value = text

    for control in controls.values():
        control.observe(update, names="value")
    update()
    box = widgets.VBox([widgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"}), image, sentence])
    box.controls, box.image, box.sentence = controls, image, sentence
    return box
