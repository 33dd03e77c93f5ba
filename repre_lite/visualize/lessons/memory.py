"""How far back a moving average reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kit import palette
from ..kit.drawing import Figure
from ..kit.extra import extra
from ..kit.panel import panel


@dataclass(frozen=True)
class Memory:
    """`steps` of a run; the coefficient rises from its base to 1 by half a cosine."""

    steps: int

    @classmethod
    def compute(cls, steps: int) -> Memory:
        """For a run of that many steps."""
        return cls(steps)

    def coefficients(self, base: float) -> np.ndarray:
        """The coefficient of every step, (steps,), in [0, 1)."""
        progress = np.arange(self.steps) / self.steps
        return 1 - (1 - base) * (np.cos(np.pi * progress) + 1) / 2

    def shares(self, base: float, at: int) -> np.ndarray:
        """The share of the online network of each step up to `at` in the target after that step, (at + 1,); the rest is
        the initial network's."""
        coefficients = self.coefficients(base)[: at + 1]
        kept = np.append(np.cumprod(coefficients[::-1])[::-1][1:], 1.0)  # of each step's share, what later steps leave
        return np.asarray((1 - coefficients) * kept)

    def age(self, base: float, at: int) -> float:
        """Mean age, in steps, of the target after step `at`; the initial network counts as step 0."""
        shares = self.shares(base, at)
        return float((shares * np.arange(at, -1, -1)).sum() + (1 - shares.sum()) * at)

    def figure(self, base: float = 0.99, at: int | None = None) -> Figure:
        """The coefficient over the run, and the shares of the online networks in the target at one step."""
        at = self.steps // 2 if at is None else at
        figure = Figure(6.6, 2.4, "constrained")
        axes = figure.subplots(1, 2)
        axes[0].plot(self.coefficients(base), color=palette.BLUE)
        axes[0].axvline(at, color=palette.ink(), linestyle=":")
        axes[0].set(xlabel="step", ylabel="coefficient", ylim=(base - 0.1 * (1 - base), 1 + 0.1 * (1 - base)))
        axes[1].fill_between(range(at + 1), self.shares(base, at), color=palette.VERMILLION, alpha=0.7)
        axes[1].set(xlabel="online network of step", ylabel="share in the target", xlim=(0, self.steps))
        return figure

    def describe(self, base: float = 0.99, at: int | None = None) -> str:
        """The age of the target in one sentence."""
        at = self.steps // 2 if at is None else at
        return (
            f"From base {base:g}, after step {at} of {self.steps}, the target is on average {self.age(base, at):.0f} steps "
            f"old and holds {1 - self.shares(base, at).sum():.0%} of the initial network."
        )

    def widget(self) -> Any:
        """Sliders for the base and the step."""
        widgets, bases = extra("ipywidgets"), [0.9, 0.95, 0.99, 0.996, 0.999, 0.9995]
        return panel(
            self,
            base=widgets.SelectionSlider(options=bases, value=0.99, description="base"),
            at=widgets.IntSlider(self.steps // 2, 1, self.steps - 1, description="step", continuous_update=False),
        )
