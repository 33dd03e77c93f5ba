"""The tap mixer: weight, knock out or swap a tap, and see what the decoder reconstructs from the rest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decoder import ReconstructionDecoder
from .kit import palette
from .kit.drawing import Figure, absolute_error, show_image, shrink
from .kit.extra import extra
from .kit.panel import panel
from .kit.viewer import pack_image, to_html

CHOICES = ("on", "off", "swap")  # a tap is its own, the mean over the data set, or another image's
PAGE_BYTES = 1_500_000  # limit of the images of a page
OTHERS = 8  # images kept to swap with


@dataclass(frozen=True)
class TapMixer:
    """`view` (H, W, 3) in [0, 1]; `names` of the K taps, shallow to deep; `decoder` reads `taps`, K maps (S, C_i, h_i, w_i)
    of the view (row 0) and of other images; `means`, K (1, C_i, 1, 1), replace a tap that is knocked out.

    A state of the mixer is `weights`, K numbers from 0 (only the mean is left; False will do) to 1 (all of the tap; True),
    and `sources`, K rows: which image a tap is taken from, 0 being the view itself.
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
        """`taps`: K maps (B, C_i, h_i, w_i); the first image's are mixed, the others' can be swapped in, and the mean of a
        tap is taken over all B images and places, so give a few dozen. `view` (3, H, W) in [0, 1], the first image.

        A decoder of mode "single" reads the deepest tap alone, so only that one is kept.
        """
        read = len(decoder.laterals)
        names = tuple(names) or tuple(f"tap {i + 1}" for i in range(len(taps)))
        taps = [tap.detach() for tap in taps[-read:]]
        means = tuple(tap.mean((0, 2, 3), keepdim=True) for tap in taps)  # (1, C_i, 1, 1) each
        shown = view.permute(1, 2, 0).float().cpu().numpy()
        return cls(shown, names[-read:], decoder.eval(), tuple(tap[: 1 + OTHERS].clone() for tap in taps), means)

    @property
    def others(self) -> int:
        """How many images there are to swap with."""
        return len(self.taps[0]) - 1

    @torch.no_grad()
    def mix(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> np.ndarray:
        """The reconstruction (H, W, 3) of a state, linear, not clipped. Only the decoder runs: milliseconds."""
        weights, sources = self._state(weights, sources)
        mixed = [
            torch.lerp(mean, tap[source : source + 1], float(weight))  # (1, C_i, h_i, w_i)
            for mean, tap, weight, source in zip(self.means, self.taps, weights, sources, strict=True)
        ]
        return np.asarray(self.decoder(mixed)[0].permute(1, 2, 0).float().cpu())

    def l1(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> float:
        """Mean absolute error of that reconstruction against the view."""
        return float(np.abs(self.mix(weights, sources) - self.view).mean())

    def figure(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> Figure:
        """Each tap alone, each knocked out, each swapped with image 1, with the mean absolute error below; or one state:
        the view, its reconstruction, the error, and the image swapped in."""
        if weights is not None or sources is not None:
            return self._enlarged(*self._state(weights, sources))
        count = len(self.names)
        rows = 2 + (self.others > 0)
        figure = Figure(1.3 * (count + 1), 1.7 * rows)
        axes = figure.subplots(rows, count + 1, squeeze=False)

        def show(axis: Any, title: str, weights: Sequence[float] | None = None, sources: Any = None) -> None:
            made = self.mix(weights, sources)
            show_image(axis, made.clip(0, 1), title)
            axis.set_xlabel(f"{np.abs(made - self.view).mean():.3f}", fontsize=9)

        show_image(axes[0][0], self.view, "view")
        show(axes[1][0], "all taps")
        for i, name in enumerate(self.names):
            this = [j == i for j in range(count)]
            show(axes[0][i + 1], f"only {name}", this)
            show(axes[1][i + 1], f"no {name}", [not chosen for chosen in this])
            if self.others:
                show(axes[2][i + 1], f"swap {name}", None, [int(chosen) for chosen in this])
        if self.others:
            show(axes[2][0], "image 1", None, [1] * count)
        return figure

    def describe(self, weights: Sequence[float] | None = None, sources: Sequence[int] | None = None) -> str:
        """One state in one sentence."""
        return self._sentence(self.mix(weights, sources), *self._state(weights, sources))

    def widget(self) -> Any:
        """For every tap a switch and a weight, and a slider over the images to swap with."""
        widgets = extra("ipywidgets")
        taps = range(len(self.names))
        choices = CHOICES if self.others else CHOICES[:2]

        def state(other: int = 0, **values: Any) -> dict[str, Any]:
            weights = [0.0 if values[f"tap{i}"] == "off" else values[f"weight{i}"] for i in taps]
            return {"weights": weights, "sources": [other if values[f"tap{i}"] == "swap" else 0 for i in taps]}

        controls: dict[str, Any] = {}
        for i, name in enumerate(self.names):
            controls[f"tap{i}"] = widgets.Dropdown(options=choices, description=name, layout={"width": "190px"})
            controls[f"weight{i}"] = widgets.FloatSlider(1, min=0, max=1, step=0.05, description="weight")
        if self.others:
            controls["other"] = widgets.IntSlider(1, 1, self.others, description="swap with")
        box = panel(self, state, **controls)
        box.children[0].layout = {"display": "grid", "grid_template_columns": "repeat(2, max-content)"}  # a tap a row
        return box

    def to_html(self, other: int = 1, script: bool = True) -> str:
        """Live without kernel or network: every combination of taps on and off and, if the images are small enough,
        swapped with image `other`, reconstructed here once. Without other images nothing is swapped."""
        taps, size = range(len(self.names)), self.view.size
        swap = self.others > 0 and len(CHOICES) ** len(taps) * size <= PAGE_BYTES
        choices = CHOICES if swap else CHOICES[:2]
        made, sentences = [], []
        for choice in itertools.product(choices, repeat=len(taps)):
            weights, sources = [float(c != "off") for c in choice], [other * (c == "swap") for c in choice]
            made.append(self.mix(weights, sources))
            sentences.append(self._sentence(made[-1], weights, sources))
        if swap:
            made.append(self.mix(sources=[other] * len(taps)))
        view, reconstructions = shrink(PAGE_BYTES, self.view, np.stack(made))
        data = {
            "names": self.names,
            "choices": choices,
            "other": f"image {other}, reconstructed" if swap else "",
            "view": pack_image(view),
            "reconstructions": pack_image(reconstructions),
            "range": palette.ERROR_RANGE,
            "sentences": sentences,
        }
        state = {f"tap{i}": "on" for i in taps}
        return to_html("mixer", data, state, "Tap mixer", sentences[0], script)

    def _enlarged(self, weights: Sequence[float], sources: Sequence[int]) -> Figure:
        """View, reconstruction and error of one state, and the image swapped in as its own taps reconstruct it."""
        other = max(sources)
        figure = Figure(2 * (3 + (other > 0)) + 0.4, 2.4)
        axes = figure.subplots(1, 3 + (other > 0))
        made = self.mix(weights, sources).clip(0, 1)
        show_image(axes[0], self.view, "view")
        show_image(axes[1], made, "reconstruction")
        error = show_image(axes[2], absolute_error(made, self.view), "error", **palette.error_map())
        figure.colorbar(error, ax=axes[2], fraction=0.05)
        if other:
            show_image(axes[3], self.mix(sources=[other] * len(self.names)).clip(0, 1), f"image {other}")
        return figure

    def _sentence(self, reconstruction: np.ndarray, weights: Sequence[float], sources: Sequence[int]) -> str:
        own, swapped, out = [], [], []
        for name, weight, source in zip(self.names, weights, sources, strict=True):
            amount = "" if weight == 1 else f" at {weight:.2f}"
            if weight == 0:
                out.append(name)
            elif source:
                swapped.append(f"{name}{amount} of image {source}")
            else:
                own.append(name + amount)
        parts = [
            f"reconstructed from {', '.join(own) or 'no tap of its own'}",
            f"swapped: {', '.join(swapped)}" if swapped else "",
            f"knocked out: {', '.join(out)}" if out else "",
        ]
        error = np.abs(reconstruction - self.view).mean()
        return f"The view {'; '.join(part for part in parts if part)}. Mean absolute error {error:.3f}."

    def _state(
        self, weights: Sequence[float] | None, sources: Sequence[int] | None
    ) -> tuple[Sequence[float], Sequence[int]]:
        count = len(self.names)
        return (1.0,) * count if weights is None else weights, (0,) * count if sources is None else sources
