"""A step as it is logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..repre import RePre


@dataclass(frozen=True)
class Step:
    """A logged step, counted from 1.

    `losses`, `weights`: numbers, None for a loss that does not exist. `gauges`: gauges of collapse and the framework's own.
    `views`, `reconstructed`: of this step, on the device.
    """

    step: int
    epoch: int
    losses: dict[str, float | None]
    weights: dict[str, float | None]
    lr: float
    images_per_second: float
    gauges: dict[str, float]
    model: RePre
    views: list[Tensor]
    reconstructed: Tensor | None

    def record(self) -> dict[str, Any]:
        """The step as a line of metrics.jsonl."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "loss": self.losses["total"],
            "contrastive": self.losses["contrastive"],
            "reconstruction": self.losses["reconstruction"],
            "weight_contrastive": self.weights["contrastive"],
            "weight_reconstruction": self.weights["reconstruction"],
            "lr": self.lr,
            "images_per_second": self.images_per_second,
            **self.gauges,
        }
