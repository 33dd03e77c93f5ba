"""How far back a moving average remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kit.panel import panel


@dataclass(frozen=True)
class Memory:
    """`steps` of a run; the coefficient rises from its base to 1 by half a cosine."""

    steps: int

    @classmethod
    def compute(cls, steps: int) -> Memory:
        return cls(steps)

    def coefficients(self, base: float) -> np.ndarray:
        """The coefficient of every step, (steps,), in [0, 1)."""
        progress = np.arange(self.steps) / self.steps
        return 1 - (1 - base) * (np.cos(np.pi * progress) + 1) / 2

    def shares(self, base: float, at: int) -> np.ndarray:
        """What the target after step `at` is made of: the share of the online network of each step up to it, (at + 1,);
        the missing rest is the start."""
        coefficients = self.coefficients(base)[: at + 1]
        kept = np.append(np.cumprod(coefficients[::-1])[::-1][1:], 1.0)  # of each step's part, what later steps leave
        return (1 - coefficients) * kept

    def age(self, base: float, at: int) -> float:
        """Mean age, in steps, of what the target after step `at` is made of; the start counts as step 0."""
        shares = self.shares(base, at)
        return float((shares * np.arange(at, -1, -1)).sum() + (1 - shares.sum()) * at)

    def figure(self, base: float = 0.99, at: int | None = None) -> Any:
        """The coefficient over the run, and what the target is made of at one step."""
        from matplotlib import pyplot as plt

        at = self.steps // 2 if at is None else at
        figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.4), layout="constrained")
        axes[0].plot(self.coefficients(base), color="#0072B2")
        axes[0].axvline(at, color="black", linestyle=":")
        axes[0].set(xlabel="step", ylabel="coefficient", ylim=(min(0.85, base), 1.005))
        axes[1].fill_between(range(at + 1), self.shares(base, at), color="#D55E00", alpha=0.7)
        axes[1].set(xlabel="online network of step", ylabel="share in the target", xlim=(0, self.steps))
        plt.close(figure)
        return figure

    def describe(self, base: float = 0.99, at: int | None = None) -> str:
        """How old the target is, in one sentence."""
        at = self.steps // 2 if at is None else at
        return (
            f"From base {base:g}, after step {at} of {self.steps}, the target is on average {self.age(base, at):.0f} steps "
            f"old and holds {1 - self.shares(base, at).sum():.0%} of the start."
        )

    def widget(self) -> Any:
        """Sliders for the base and the step."""
        import ipywidgets as widgets

        return panel(
            lambda base, at: (self.figure(base, at), self.describe(base, at)),
            base=widgets.SelectionSlider(
                options=[0.9, 0.95, 0.99, 0.996, 0.999, 0.9995], value=0.99, description="base"
            ),
            at=widgets.IntSlider(self.steps // 2, 1, self.steps - 1, description="step", continuous_update=False),
        )
