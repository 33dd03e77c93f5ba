"""The tap mixer: switch levels off and see what the decoder can no longer draw."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decoder import ReconstructionDecoder
from .panel import panel, strip


@dataclass(frozen=True)
class TapMixer:
    """`view` (H, W, 3); `pictures`: which taps are on, a tuple of K bools, -> the decoder's picture (H, W, 3), clipped for
    display; `l1`: the same -> mean absolute error of the unclipped one; `names` of the taps, shallow to deep."""

    view: np.ndarray
    pictures: dict[tuple[bool, ...], np.ndarray]
    l1: dict[tuple[bool, ...], float]
    names: tuple[str, ...]

    @classmethod
    @torch.no_grad()
    def compute(
        cls, decoder: ReconstructionDecoder, taps: Sequence[Tensor], view: Tensor, names: Sequence[str] = ()
    ) -> TapMixer:
        """`taps`: K maps (B, C_i, h_i, w_i), of which the first picture's is drawn; a tap that is off is replaced by its
        mean over all B pictures and places. `view` (3, H, W) in [0, 1]. All 2^K combinations are drawn here, once."""
        decoder.eval()
        means = [tap.mean((0, 2, 3), keepdim=True).expand_as(tap[:1]) for tap in taps]
        pictures, l1 = {}, {}
        for on in itertools.product((True, False), repeat=len(taps)):
            mixed = [tap[:1] if keep else mean for tap, mean, keep in zip(taps, means, on, strict=True)]
            picture = decoder(mixed)[0]  # (3, H, W)
            l1[on] = float((picture - view).abs().mean())
            pictures[on] = picture.clamp(0, 1).permute(1, 2, 0).numpy()
        shown = tuple(names) or tuple(f"tap {i + 1}" for i in range(len(taps)))
        return cls(view.permute(1, 2, 0).numpy(), pictures, l1, shown)

    def figure(self) -> Any:
        """The view, all taps, then each tap alone and each tap missing."""
        from matplotlib import pyplot as plt

        count = len(self.names)
        figure, axes = plt.subplots(2, count + 1, figsize=(1.25 * (count + 1), 3.1), layout="compressed")
        strip(axes[0][0], self.view, "view")
        everything = (True,) * count
        strip(axes[1][0], self.pictures[everything], f"all taps {self.l1[everything]:.3f}")
        for i, name in enumerate(self.names):
            alone = tuple(j == i for j in range(count))
            without = tuple(j != i for j in range(count))
            strip(axes[0][i + 1], self.pictures[alone], f"only {name} {self.l1[alone]:.3f}")
            strip(axes[1][i + 1], self.pictures[without], f"no {name} {self.l1[without]:.3f}")
        plt.close(figure)
        return figure

    def describe(self, on: tuple[bool, ...] | None = None) -> str:
        """One combination in one sentence."""
        on = (True,) * len(self.names) if on is None else on
        kept = [name for name, keep in zip(self.names, on, strict=True) if keep]
        return f"Drawn from {', '.join(kept) or 'no tap, only means'}: mean absolute error {self.l1[on]:.3f}."

    def widget(self) -> Any:
        """A toggle for every tap."""
        import ipywidgets as widgets

        def draw(**on: bool) -> tuple[Any, str]:
            from matplotlib import pyplot as plt

            chosen = tuple(on.values())
            figure, axes = plt.subplots(1, 3, figsize=(6.2, 2.4), layout="compressed")
            strip(axes[0], self.view, "view")
            strip(axes[1], self.pictures[chosen], "redrawn")
            error = np.abs(self.pictures[chosen] - self.view).mean(-1)
            figure.colorbar(strip(axes[2], error, "error", cmap="cividis", vmin=0, vmax=0.5), ax=axes[2], fraction=0.05)
            return figure, self.describe(chosen)

        toggles = {f"tap{i}": widgets.ToggleButton(True, description=name) for i, name in enumerate(self.names)}
        return panel(draw, **toggles)
