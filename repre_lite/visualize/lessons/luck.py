"""How often a comparison of a few seeds finds the truth: many imagined studies of one true effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kit import palette
from ..kit.drawing import Figure
from ..kit.extra import extra
from ..kit.panel import panel

LEAST = 3  # pairs for a verdict
VERDICTS = {"gain": palette.GREEN, "no difference shown": palette.FAINT, "loss": palette.VERMILLION}


@dataclass(frozen=True)
class Luck:
    """`draws` (M, S): M studies of up to S pairs, standard normal: what a seed adds to the true effect. `t` (S,): Student's
    t for the 95 % interval of 1, 2, ... S pairs; infinite for one."""

    draws: np.ndarray
    t: np.ndarray

    @classmethod
    def compute(cls, quantile: Callable[[int], float], studies: int = 4000, most: int = 16, seed: int = 0) -> Luck:
        """`studies` imagined studies of up to `most` pairs. `quantile`: t for a number of degrees of freedom, such as
        `reproduce.statistics.t_quantile`."""
        t = [np.inf, *(quantile(pairs - 1) for pairs in range(2, most + 1))]
        return cls(np.random.default_rng(seed).standard_normal((studies, most)), np.asarray(t))

    def means(self, effect: float, spread: float, pairs: int) -> np.ndarray:
        """The mean difference that each study finds, (M,)."""
        return np.asarray(effect + spread * self.draws[:, :pairs].mean(1))

    def verdicts(self, effect: float, spread: float, pairs: int) -> dict[str, np.ndarray]:
        """Which studies show a gain, a loss or neither, bool (M,) each: by the 95 % interval, as `reproduce.verdict` has it;
        with fewer than three pairs none shows anything."""
        means = self.means(effect, spread, pairs)
        shown = np.zeros(len(means), dtype=bool)
        if pairs >= LEAST:
            half = self.t[pairs - 1] * spread * self.draws[:, :pairs].std(1, ddof=1) / pairs**0.5
            shown = np.abs(means) > half
        gain, loss = shown & (means > 0), shown & (means < 0)
        return {"gain": gain, "no difference shown": ~shown, "loss": loss}

    def wrong_sign(self, effect: float, spread: float, pairs: int) -> float:
        """The share of studies whose mean points away from the true effect."""
        return float((self.means(effect, spread, pairs) * np.sign(effect) < 0).mean())

    def figure(self, effect: float = 0.7, spread: float = 1.0, pairs: int = 1) -> Figure:
        """How many studies find which mean difference, by what their interval shows; the true effect is dashed."""
        figure = Figure(7.2, 2.6, "constrained")
        axis = figure.subplots()
        means = self.means(effect, spread, pairs)
        found = self.verdicts(effect, spread, pairs)
        reach = 4 * max(spread, 0.25) + abs(effect)
        edges = np.linspace(-reach, reach, 61)
        axis.hist(
            [means[chosen] for chosen in found.values()],
            edges.tolist(),
            stacked=True,
            color=list(VERDICTS.values()),
            label=[f"{name}, {chosen.mean():.0%}" for name, chosen in found.items()],
        )
        axis.axvline(0, color=palette.ink(), linewidth=1)
        axis.axvline(effect, color=palette.BLUE, linestyle="--", linewidth=1.4, label=f"true effect {effect:g}")
        axis.set(xlabel=f"mean difference of {pairs} pair{'s' * (pairs > 1)}, points", ylabel="studies", yticks=[])
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
        return figure

    def describe(self, effect: float = 0.7, spread: float = 1.0, pairs: int = 1) -> str:
        """The same in one sentence."""
        found = self.verdicts(effect, spread, pairs)
        sign = f"{self.wrong_sign(effect, spread, pairs):.0%} find the wrong sign, " if effect else ""
        return (
            f"Of {len(self.draws)} imagined studies with {pairs} pair{'s' * (pairs > 1)}, a true effect of {effect:g} points "
            f"and a spread of {spread:g} between pairs, {sign}{found['gain'].mean():.0%} show a gain and "
            f"{found['loss'].mean():.0%} a loss."
        )

    def widget(self) -> Any:
        """Sliders for effect, spread and pairs."""
        widgets = extra("ipywidgets")
        return panel(
            self,
            effect=widgets.SelectionSlider(options=(0.0, 0.3, 0.5, 0.7, 1.1, 2.0), value=0.7, description="effect"),
            spread=widgets.SelectionSlider(options=(0.3, 0.5, 1.0, 2.0, 3.0), value=1.0, description="spread"),
            pairs=widgets.IntSlider(1, 1, self.draws.shape[1], description="pairs", continuous_update=False),
        )
