"""The tap mixer: switch, weigh, knock out or swap a level, and see what the decoder draws of the rest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decoder import ReconstructionDecoder
from .kit.panel import panel, shrink, strip
from .kit.viewer import pack_picture, to_html
from .reconstruction import ERROR_RANGE

CHOICES = ("on", "off", "swap")  # what a tap can be without weights: its own, the data set's mean, another picture's
PAGE_BYTES = 1_500_000  # what the pictures of a page may take
OTHERS = 8  # pictures that are kept to swap with


@dataclass(frozen=True)
class TapMixer:
    """`view` (H, W, 3) in [0, 1]; `names` of the K taps, shallow to deep; `decoder` reads `taps`, K maps (S, C_i, h_i, w_i)
    of the view (row 0) and of other pictures; `means`, K (1, C_i, 1, 1), stand in for a tap that is knocked out.

    A state of the mixer is `weights`, K numbers from 0 (only the mean is left; False will do) to 1 (all of the tap; True),
    and `sources`, K rows: which picture a tap is taken from, 0 being the view itself.
    """

    view: np.ndarray
    names: tuple[str, ...]
    decoder: ReconstructionDecoder
    taps: tuple[Tensor, ...]
    means: tuple[Tensor, ...]

    @classmethod
    @torch.no_grad()
    def compute(
        cls, decoder: ReconstructionDecoder, taps: Sequence[Tensor], view: Tensor, names: Sequence[str] = ()
    ) -> TapMixer:
        """`taps`: K maps (B, C_i, h_i, w_i); the first picture's are mixed, the others' can be swapped in, and the mean of a
        tap is taken over all B pictures and places, so give a few dozen. `view` (3, H, W) in [0, 1], the first picture.

        A decoder of mode "single" reads the deepest tap alone, so only that one is kept.
        """
        read = len(decoder.laterals)
        names = tuple(names) or tuple(f"tap {i + 1}" for i in range(len(taps)))
        taps = [tap.detach() for tap in taps[-read:]]
        means = tuple(tap.mean((0, 2, 3), keepdim=True) for tap in taps)  # (1, C_i, 1, 1) each
        shown = view.permute(1, 2, 0).cpu().numpy()
        return cls(shown, names[-read:], decoder.eval(), tuple(tap[: 1 + OTHERS].clone() for tap in taps), means)

    @property
    def others(self) -> int:
        """How many pictures there are to swap with."""
        return len(self.taps[0]) - 1

    @torch.no_grad()
    def mix(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> np.ndarray:
        """The decoder's picture (H, W, 3) of a state, linear, not clipped. No encoder runs: milliseconds."""
        weights, sources = self._state(weights, sources)
        mixed = [
            torch.lerp(mean, tap[source : source + 1], float(weight))  # (1, C_i, h_i, w_i)
            for mean, tap, weight, source in zip(self.means, self.taps, weights, sources, strict=True)
        ]
        return self.decoder(mixed)[0].permute(1, 2, 0).cpu().numpy()

    def l1(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> float:
        """Mean absolute error of that picture against the view."""
        return float(np.abs(self.mix(weights, sources) - self.view).mean())

    def figure(self) -> Any:
        """The view and what all taps draw; each tap alone, each knocked out, each swapped with picture 1; below each its
        mean absolute error."""
        from matplotlib import pyplot as plt

        count = len(self.names)
        rows = 2 + (self.others > 0)
        size = (1.3 * (count + 1), 1.7 * rows)
        figure, axes = plt.subplots(rows, count + 1, figsize=size, squeeze=False, layout="compressed")

        def show(axis: Any, title: str, weights: Sequence[float] | None = None, sources: Any = None) -> None:
            picture = self.mix(weights, sources)
            strip(axis, picture.clip(0, 1), title)
            axis.set_xlabel(f"{np.abs(picture - self.view).mean():.3f}", fontsize=9)

        strip(axes[0][0], self.view, "view")
        show(axes[1][0], "all taps")
        for i, name in enumerate(self.names):
            this = [j == i for j in range(count)]
            show(axes[0][i + 1], f"only {name}", this)
            show(axes[1][i + 1], f"no {name}", [not chosen for chosen in this])
            if self.others:
                show(axes[2][i + 1], f"swap {name}", None, [int(chosen) for chosen in this])
        if self.others:
            show(axes[2][0], "picture 1, redrawn", None, [1] * count)
        plt.close(figure)
        return figure

    def describe(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> str:
        """One state in one sentence."""
        return self._sentence(self.mix(weights, sources), *self._state(weights, sources))

    def widget(self) -> Any:
        """For every tap a switch and a weight, and a slider over the pictures to swap with."""
        import ipywidgets as widgets

        taps = range(len(self.names))
        choices = CHOICES if self.others else CHOICES[:2]

        def draw(other: int = 0, **values: Any) -> tuple[Any, str]:
            weights = [0.0 if values[f"tap{i}"] == "off" else values[f"weight{i}"] for i in taps]
            sources = [other if values[f"tap{i}"] == "swap" else 0 for i in taps]
            picture = self.mix(weights, sources)
            return self._enlarged(picture, other), self._sentence(picture, weights, sources)

        controls: dict[str, Any] = {}
        for i, name in enumerate(self.names):
            controls[f"tap{i}"] = widgets.Dropdown(options=choices, description=name, layout={"width": "190px"})
            controls[f"weight{i}"] = widgets.FloatSlider(1, min=0, max=1, step=0.05, description="weight")
        if self.others:
            controls["other"] = widgets.IntSlider(1, 1, self.others, description="swap with")
        box = panel(draw, **controls)
        box.children[0].layout = {"display": "grid", "grid_template_columns": "repeat(2, max-content)"}  # a tap a row
        return box

    def to_html(self, other: int = 1, script: bool = True) -> str:
        """Live without kernel or network: every combination of taps on and off and, where the pictures' size allows it,
        swapped with picture `other`, drawn here once. Without `other` pictures nothing is swapped."""
        taps, size = range(len(self.names)), self.view.size
        swap = self.others > 0 and len(CHOICES) ** len(taps) * size <= PAGE_BYTES
        choices = CHOICES if swap else CHOICES[:2]
        pictures, sentences = [], []
        for choice in itertools.product(choices, repeat=len(taps)):
            weights, sources = [float(c != "off") for c in choice], [other * (c == "swap") for c in choice]
            pictures.append(self.mix(weights, sources))
            sentences.append(self._sentence(pictures[-1], weights, sources))
        if swap:
            pictures.append(self.mix(sources=[other] * len(taps)))
        view, drawn = shrink(PAGE_BYTES, self.view, np.stack(pictures))
        data = {
            "names": self.names,
            "choices": choices,
            "other": f"picture {other}, redrawn" if swap else "",
            "view": pack_picture(view),
            "pictures": pack_picture(drawn),
            "range": ERROR_RANGE,
            "sentences": sentences,
        }
        state = {f"tap{i}": "on" for i in taps}
        return to_html("mixer", data, state, "Tap mixer", sentences[0], script)

    def _enlarged(self, picture: np.ndarray, other: int) -> Any:
        """View, picture and error of one state, and the picture to swap with as its own taps redraw it."""
        from matplotlib import pyplot as plt

        columns = 3 + (other > 0)
        figure, axes = plt.subplots(1, columns, figsize=(2 * columns + 0.4, 2.4), layout="compressed")
        strip(axes[0], self.view, "view")
        strip(axes[1], picture.clip(0, 1), "redrawn")
        error = strip(
            axes[2], np.abs(picture.clip(0, 1) - self.view).mean(-1), "error", cmap="cividis", vmin=0, vmax=ERROR_RANGE
        )
        figure.colorbar(error, ax=axes[2], fraction=0.05)
        if other:
            strip(axes[3], self.mix(sources=[other] * len(self.names)).clip(0, 1), f"picture {other}, redrawn")
        return figure

    def _sentence(self, picture: np.ndarray, weights: Sequence[float], sources: Sequence[int]) -> str:
        own, swapped, out = [], [], []
        for name, weight, source in zip(self.names, weights, sources, strict=True):
            amount = "" if weight == 1 else f" at {weight:.2f}"
            if weight == 0:
                out.append(name)
            elif source:
                swapped.append(f"{name}{amount} of picture {source}")
            else:
                own.append(name + amount)
        parts = [
            f"drawn from {', '.join(own) or 'no tap of its own'}",
            f"swapped: {', '.join(swapped)}" if swapped else "",
            f"knocked out: {', '.join(out)}" if out else "",
        ]
        error = np.abs(picture - self.view).mean()
        return f"The view {'; '.join(part for part in parts if part)}. Mean absolute error {error:.3f}."

    def _state(
        self, weights: Sequence[float] | None, sources: Sequence[int] | None
    ) -> tuple[Sequence[float], Sequence[int]]:
        count = len(self.names)
        return (1.0,) * count if weights is None else weights, (0,) * count if sources is None else sources
