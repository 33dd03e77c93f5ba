"""Where learned weights converge for two given losses."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from ...losses import UncertaintyWeighting
from ..kit import palette
from ..kit.drawing import Figure
from ..kit.extra import extra
from ..kit.panel import panel


@dataclass(frozen=True)
class Balance:
    """Where uncertainty weights converge for two constant losses: s = log L, bounded below by `floor`."""

    floor: float = -5.0

    @classmethod
    def compute(cls, weighting: UncertaintyWeighting) -> Balance:
        """With the floor of `weighting`."""
        return cls(weighting.floor)

    def rest(self, contrastive: float, reconstruction: float) -> tuple[float, float, float]:
        """Both weights and the total at rest, for two losses > 0."""
        s = [max(math.log(loss), self.floor) for loss in (contrastive, reconstruction)]
        weights = [math.exp(-value) / 2 for value in s]
        total = weights[0] * contrastive + weights[1] * reconstruction + sum(s) / 2
        return weights[0], weights[1], total

    def figure(self, contrastive: float = 2.0, reconstruction: float = 0.1) -> Figure:
        """Left the objective as a function of each s, right the weight at rest as a function of the loss; both marked."""
        figure = Figure(7.4, 2.7, "constrained")
        axes = figure.subplots(1, 2)
        grid = [self.floor + i * (3 - self.floor) / 200 for i in range(201)]
        losses = [10 ** (i / 50 - 4) for i in range(251)]
        axes[1].plot(losses, [self.rest(loss, loss)[0] for loss in losses], color=palette.FAINT, linewidth=1)
        for loss, name, style in (
            (contrastive, "contrastive", palette.CONTRASTIVE),
            (reconstruction, "reconstruction", palette.RECONSTRUCTION),
        ):
            objective = [(math.exp(-s) * loss + s) / 2 for s in grid]
            axes[0].plot(grid, objective, **style.options(marker=False), label=f"{name} {loss:g}")
            rest = max(math.log(loss), self.floor)
            axes[0].plot(rest, (math.exp(-rest) * loss + rest) / 2, **style.options())
            axes[1].plot(loss, math.exp(-rest) / 2, **style.options())
        axes[0].set(xlabel="s, the log-variance", ylabel="(exp(-s) L + s) / 2", ylim=(-3, 6))
        axes[1].set(xlabel="loss L", ylabel="weight at rest", xscale="log", yscale="log")
        axes[0].legend(frameon=False, fontsize=9)
        return figure

    def describe(self, contrastive: float = 2.0, reconstruction: float = 0.1) -> str:
        """The weights at rest in one sentence."""
        one, two, total = self.rest(contrastive, reconstruction)
        return (
            f"At losses {contrastive:g} and {reconstruction:g} the weights rest at {one:.2f} and {two:.2f}, a ratio of "
            f"{two / one:.1f}, and the total at {total:.2f}."
        )

    def widget(self) -> Any:
        """A slider for each loss."""
        slider = functools.partial(extra("ipywidgets").FloatLogSlider, continuous_update=False)
        return panel(
            self,
            lambda **losses: {name: round(loss, 4) for name, loss in losses.items()},
            contrastive=slider(2.0, min=-2, max=1, description="contrastive"),
            reconstruction=slider(0.1, min=-3, max=0, description="reconstruction"),
        )
