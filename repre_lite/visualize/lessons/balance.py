"""How learned weights answer two losses, and the curves of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...losses import UncertaintyWeighting
from ..kit.panel import panel


@dataclass(frozen=True)
class Balance:
    """Where uncertainty weights come to rest for two constant losses: s = log L, bounded below by `floor`."""

    floor: float = -5.0

    @classmethod
    def compute(cls, weighting: UncertaintyWeighting) -> Balance:
        return cls(weighting.floor)

    def rest(self, contrastive: float, reconstruction: float) -> tuple[float, float, float]:
        """Both weights and the total at rest, for two losses > 0."""
        s = [max(math.log(loss), self.floor) for loss in (contrastive, reconstruction)]
        weights = [math.exp(-value) / 2 for value in s]
        total = weights[0] * contrastive + weights[1] * reconstruction + sum(s) / 2
        return weights[0], weights[1], total

    def figure(self, contrastive: float = 2.0, reconstruction: float = 0.1) -> Any:
        """Left the objective as a function of each s, right the weight at rest as a function of the loss; both marked."""
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.7), layout="constrained")
        grid = [self.floor + i * (3 - self.floor) / 200 for i in range(201)]
        losses = [10 ** (i / 50 - 4) for i in range(251)]
        axes[1].plot(losses, [self.rest(loss, loss)[0] for loss in losses], color="0.6", linewidth=1)
        for loss, name, colour, style, mark in (
            (contrastive, "contrastive", "#0072B2", "-", "o"),
            (reconstruction, "reconstruction", "#D55E00", "--", "D"),
        ):
            objective = [(math.exp(-s) * loss + s) / 2 for s in grid]
            axes[0].plot(grid, objective, style, color=colour, label=f"{name} {loss:g}")
            rest = max(math.log(loss), self.floor)
            axes[0].plot(rest, (math.exp(-rest) * loss + rest) / 2, mark, color=colour)
            axes[1].plot(loss, math.exp(-rest) / 2, mark, color=colour)
        axes[0].set(xlabel="s, the log-variance", ylabel="(exp(-s) L + s) / 2", ylim=(-3, 6))
        axes[1].set(xlabel="loss L", ylabel="weight at rest", xscale="log", yscale="log")
        axes[0].legend(frameon=False, fontsize=9)
        plt.close(figure)
        return figure

    def describe(self, contrastive: float = 2.0, reconstruction: float = 0.1) -> str:
        """Where the weights rest, in one sentence."""
        one, two, total = self.rest(contrastive, reconstruction)
        return (
            f"At losses {contrastive:g} and {reconstruction:g} the weights rest at {one:.2f} and {two:.2f}, a ratio of "
            f"{two / one:.1f}, and the total at {total:.2f}."
        )

    def widget(self) -> Any:
        """A slider for each loss."""
        import ipywidgets as widgets

        def draw(contrastive: float, reconstruction: float) -> tuple[Any, str]:
            values = round(contrastive, 4), round(reconstruction, 4)
            return self.figure(*values), self.describe(*values)

        return panel(
            draw,
            contrastive=widgets.FloatLogSlider(2.0, min=-2, max=1, description="contrastive", continuous_update=False),
            reconstruction=widgets.FloatLogSlider(
                0.1, min=-3, max=0, description="reconstruction", continuous_update=False
            ),
        )


def curves(metrics: Sequence[dict[str, Any]], title: str = "") -> Any:
    """Small plots over steps from lines of metrics.jsonl: both raw losses, both weights, and k-NN if it was taken."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    seen = [(line["step"], line["online_knn_top1"]) for line in metrics if line.get("online_knn_top1") is not None]
    count = 3 if seen else 2
    figure, axes = plt.subplots(1, count, figsize=(3 * count, 2.6), layout="constrained")
    steps = [line["step"] for line in metrics]
    for axis, prefix, name in ((axes[0], "", "raw loss"), (axes[1], "weight_", "weight")):
        for key, colour, style in (("contrastive", "#0072B2", "-"), ("reconstruction", "#D55E00", "--")):
            values = [line.get(prefix + key) for line in metrics]
            if any(value is not None for value in values):
                axis.plot(steps, values, style, color=colour, label=key)
        axis.set(xlabel="step", ylabel=name, yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())
        if axis.lines:
            axis.legend(frameon=False, fontsize=9)
    if seen:
        axes[2].plot([s for s, _ in seen], [100 * v for _, v in seen], "o-", color="#009E73")
        axes[2].set(xlabel="step", ylabel="k-NN top-1 (%)", ylim=(0, 100))
    figure.suptitle(title, fontsize=10)
    plt.close(figure)
    return figure
