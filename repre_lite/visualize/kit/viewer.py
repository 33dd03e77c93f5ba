"""The browser viewer: viewer.js, canvas.js and kinds/*.js as one script, for a widget or inlined into a page that needs
neither kernel nor network.

To add a kind of visual NAME:
1. in kinds/NAME.js, `kinds.NAME = (ui, data) => { ...; return (state) => sentence; }`: add controls (`ui.range`,
   `ui.choice`, `ui.toggle`, each bound to a key of the state) and canvases (`ui.canvas`) once, return what redraws;
2. in Python, put everything it shows into `data`: plain JSON values and arrays packed by `pack`, `pack_image` or
   `pack_scale` (they arrive as {shape, values}); no network runs afterwards;
3. keep the wording in Python: give templates ("Block {block}: ...") in `data`, which JavaScript completes with `fill`,
   or whole sentences; `describe(**state)` must say the same, so the state's keys are the arguments of `describe`;
4. offer `widget()` as `viewer(NAME, data, state, self.describe)`, `to_html()` as `to_html(NAME, data, state, title)`.
"""

from __future__ import annotations

import base64
import functools
import html
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from .extra import extra


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array of uint8, uint16 or float32 as JSON: its shape, type and little-endian bytes in base64."""
    if array.dtype.name not in ("uint8", "uint16", "float32"):
        raise TypeError(f"the viewer reads uint8, uint16 and float32, not {array.dtype}")
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(data.tobytes()).decode()}


def pack_image(image: np.ndarray) -> dict[str, Any]:
    """Images (..., H, W, 3) in [0, 1], clipped, as packed uint8."""
    return pack((np.clip(image, 0, 1) * 255).round().astype(np.uint8))


def pack_scale(values: np.ndarray, low: float, high: float) -> dict[str, Any]:
    """Numbers in 65,536 steps from `low` to `high`; they arrive in the browser as `on_scale` gives them."""
    return pack(_steps(values, low, high)) | {"low": low, "high": high}


def on_scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The same numbers rounded to those steps, float32, so that Python and the browser describe the same values."""
    return (low + (high - low) * _steps(values, low, high).astype(np.float64) / 65535).astype(np.float32)


def _steps(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 65535).round().astype(np.uint16)


@functools.cache
def source() -> str:
    """The viewer's whole script, from the installed package: viewer.js, canvas.js, then every kind by its name."""
    folder = files(__package__)
    kinds = sorted((file for file in (folder / "kinds").iterdir() if file.name.endswith(".js")), key=lambda f: f.name)
    parts = (folder / "viewer.js", folder / "canvas.js", *kinds)
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


@functools.cache
def _widget_class() -> type:
    """Made when first used: anywidget is an extra."""
    anywidget, traitlets = extra("anywidget"), extra("traitlets")

    class Viewer(anywidget.AnyWidget):  # type: ignore[name-defined, misc]
        """`state` goes both ways; `sentence` is Python's description of it, the one the browser shows."""

        _esm = source()
        kind = traitlets.Unicode().tag(sync=True)
        data = traitlets.Dict().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)
        sentence = traitlets.Unicode()

        def __init__(self, describe: Callable[..., str], **traits: Any) -> None:
            super().__init__(**traits)
            self._describe = describe
            self.observe(self._say, names="state")
            self._say()

        def _say(self, *_: Any) -> None:
            self.sentence = self._describe(**self.state)

    return Viewer


def viewer(kind: str, data: dict[str, Any], state: dict[str, Any], describe: Callable[..., str]) -> Any:
    """A live widget. `kind`: a visual of kinds/; `data`: all it shows, as JSON; `state`: what is selected at first;
    `describe(**state)` -> the sentence, kept in the widget's `sentence`. Assign a new dict to `state` to change it."""
    return _widget_class()(describe, kind=kind, data=data, state=state)


def to_html(
    kind: str,
    data: dict[str, Any],
    state: dict[str, Any],
    title: str = "",
    sentence: str = "",
    script: bool = True,
    still: str = "",
) -> str:
    """The same visual as a fragment of HTML, live from disk without kernel or network.

    `title` names it for screen readers; `sentence`, and `still`, a figure as HTML, are shown if scripts are off. A page
    with several visuals needs one script, after the last of them: pass `script=False` for the others.
    """
    content = json.dumps({"kind": kind, "data": data, "state": state}).replace("<", "\\u003c")
    visual = (
        f'<div class="repre-lite-visual" role="group" aria-label="{html.escape(title)}">'
        f'<script type="application/json">{content}</script><noscript><p>{html.escape(sentence)}</p>{still}</noscript></div>\n'
    )
    return visual + page_script() if script else visual


def page_script() -> str:
    """The script that makes every visual above it live."""
    body = source().replace("export default ", "const entries = ")
    return f"<script>(() => {{\n{body}\nentries.mountAll();\n}})();</script>\n"
