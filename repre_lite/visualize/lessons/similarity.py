"""Queries against keys: cosines, the softmax over keys, and what the temperature changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...evaluation.collapse import embedding_std
from ..kit import palette
from ..kit.drawing import Figure, outline, show_image
from ..kit.extra import extra
from ..kit.panel import panel

TEMPERATURES = (0.05, 2.0)  # ends of the slider


@dataclass(frozen=True)
class Similarity:
    """`cosine` (B, M) between queries and keys, in [-1, 1]; the positive of query i is key i. `std`: the spread of the
    queries' directions (`evaluation.collapse.embedding_std`), near 1 if they fill the sphere, 0 if all are equal."""

    cosine: np.ndarray
    std: float

    @classmethod
    @torch.no_grad()
    def compute(cls, q: Tensor, k: Tensor) -> Similarity:
        """`q` (B, D), `k` (M, D) with M >= B, not necessarily of unit length."""
        cosine = F.normalize(q.double(), dim=1) @ F.normalize(k.double(), dim=1).T
        return cls(cosine.cpu().numpy(), embedding_std(q))

    def shares(self, temperature: float) -> np.ndarray:
        """Equation 1's softmax over keys, (B, M), rows sum to 1: the probability of each key."""
        return torch.from_numpy(self.cosine / temperature).softmax(1).numpy()

    def losses(self, temperature: float) -> np.ndarray:
        """Equation 1 for each query, (B,)."""
        return np.asarray(-np.log(np.diagonal(self.shares(temperature))))

    def loss(self, temperature: float) -> float:
        """Equation 1 of these cosines: the mean of `losses`."""
        return float(self.losses(temperature).mean())

    def figure(self, temperature: float = 0.2) -> Figure:
        """The cosines, the softmax over keys, positives outlined, and the loss of each row."""
        rows = len(self.cosine)
        figure = Figure(8.6, 3, "constrained")
        axes = figure.subplots(1, 3, width_ratios=(1, 1, 0.55))
        share = {"vmin": 0, "vmax": 1, "cmap": "viridis"}
        for axis, values, title, options in (
            (axes[0], self.cosine, "cosine", palette.signed_map()),
            (axes[1], self.shares(temperature), f"share at T = {temperature:g}", share),
        ):
            shown = show_image(axis, values, title, aspect="auto", **options)
            axis.set(xlabel="key", ylabel="query")
            for i in range(rows):
                outline(axis, (i, i, 1, 1), "black", "white")
            figure.colorbar(shown, ax=axis, fraction=0.046)
        axes[2].barh(range(rows), self.losses(temperature), color=palette.BLUE, height=0.8)
        axes[2].axvline(np.log(self.cosine.shape[1]), color=palette.ink(), linestyle=":")
        axes[2].set(ylim=(rows - 0.5, -0.5), yticks=[], xlabel="loss of each row\n(dotted: chance)")
        axes[2].set_title(f"mean {self.loss(temperature):.2f}\nspread {self.std:.2f}", fontsize=9)
        return figure

    def describe(self, temperature: float = 0.2) -> str:
        """The softmax in one sentence."""
        shares = self.shares(temperature)
        positive = np.diagonal(shares)
        rest = shares - np.diag(positive) if shares.shape[0] == shares.shape[1] else shares.copy()
        np.fill_diagonal(rest, 0)
        found = float((shares.argmax(1) == np.arange(len(shares))).mean())
        hardest = float((rest.max(1) / rest.sum(1).clip(1e-12)).mean())
        return (
            f"At temperature {temperature:g} the positive gets {positive.mean():.0%} on average, {found:.0%} of the queries "
            f"find theirs, and the hardest negative takes {hardest:.0%} of what all negatives get; the loss is "
            f"{self.loss(temperature):.2f}, the embedding's spread {self.std:.2f} of 1."
        )

    def widget(self) -> Any:
        """A slider over the temperature."""
        low, high = (float(np.log10(t)) for t in TEMPERATURES)
        slider = extra("ipywidgets").FloatLogSlider(0.2, min=low, max=high, step=0.05, description="temperature")
        return panel(self, temperature=slider)
