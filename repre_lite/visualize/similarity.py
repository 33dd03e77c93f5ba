"""Queries against keys: who is taken for whom, and what the temperature does to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .panel import panel, strip

TEMPERATURES = (0.05, 2.0)  # what the slider offers


@dataclass(frozen=True)
class Similarity:
    """`cosine` (B, M) between queries and keys, in [-1, 1]; the positive of query i is key i."""

    cosine: np.ndarray

    @classmethod
    @torch.no_grad()
    def compute(cls, q: Tensor, k: Tensor) -> Similarity:
        """`q` (B, D), `k` (M, D) with M >= B, of any length; they are scaled to unit length."""
        return cls((F.normalize(q.double(), dim=1) @ F.normalize(k.double(), dim=1).T).cpu().numpy())

    def shares(self, temperature: float) -> np.ndarray:
        """Equation 1's softmax over keys, (B, M), rows sum to 1: how strongly each key is taken for the positive."""
        return torch.from_numpy(self.cosine / temperature).softmax(1).numpy()

    def loss(self, temperature: float) -> float:
        """Equation 1 of these cosines."""
        shares = self.shares(temperature)
        return float(-np.log(np.diagonal(shares)).mean())

    def figure(self, temperature: float = 0.2) -> Any:
        """The cosines, and the shares the softmax makes of them."""
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(6.4, 3), layout="constrained")
        for axis, values, title, options in (
            (axes[0], self.cosine, "cosine", {"vmin": -1, "vmax": 1, "cmap": "cividis"}),
            (
                axes[1],
                self.shares(temperature),
                f"share at T = {temperature:g}",
                {"vmin": 0, "vmax": 1, "cmap": "viridis"},
            ),
        ):
            shown = strip(axis, values, title, **options)
            axis.set(xlabel="key", ylabel="query")
            figure.colorbar(shown, ax=axis, fraction=0.046)
        plt.close(figure)
        return figure

    def describe(self, temperature: float = 0.2) -> str:
        """What the softmax sees, in one sentence."""
        shares = self.shares(temperature)
        positive = np.diagonal(shares)
        rest = shares - np.diag(positive) if shares.shape[0] == shares.shape[1] else shares.copy()
        np.fill_diagonal(rest, 0)
        found = float((shares.argmax(1) == np.arange(len(shares))).mean())
        hardest = float((rest.max(1) / rest.sum(1).clip(1e-12)).mean())
        return (
            f"At temperature {temperature:g} the positive gets {positive.mean():.0%} on average, {found:.0%} of the queries "
            f"find theirs, and the hardest negative takes {hardest:.0%} of what all negatives get; the loss is "
            f"{self.loss(temperature):.2f}."
        )

    def widget(self) -> Any:
        """A slider over the temperature."""
        import ipywidgets as widgets

        low, high = (float(np.log10(t)) for t in TEMPERATURES)
        slider = widgets.FloatLogSlider(0.2, min=low, max=high, step=0.05, description="temperature")
        return panel(lambda temperature: (self.figure(temperature), self.describe(temperature)), temperature=slider)
