"""SimCLR (Chen et al., 2020): no target and no queue; every other picture of the batch is a negative.

Follows the published code: batch norm after every layer of the projector, the last one with scale and without shift.
The published loss adds the means of the two views' anchors, twice the mean over all 2B that `nt_xent` returns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import nt_xent
from ..runtime.distributed import gather_with_gradient, rank
from .base import Contrast, Framework, at_least_fp32, no_autocast, over_chance


class SimCLR(Framework):
    """`hidden`: width inside the projector (None: the encoder's); `layers`: 2, or SimCLR v2's 3."""

    watch = "the loss stays at ln(2B - 1) where nothing is learned: raise the batch or lower the temperature"

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int | None = None,
        out: int = 128,
        layers: int = 2,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(encoder)
        self.temperature = temperature
        self.projector = mlp(encoder.width, hidden or encoder.width, out, layers, bias=False, last_norm="unbiased")

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        z1, z2 = (self.projector(f.pooled) for f in features)  # (B, D) each
        with no_autocast(z1):
            z1, z2 = at_least_fp32(z1), at_least_fp32(z2)
            all1, all2 = (
                gather_with_gradient(z1),
                gather_with_gradient(z2),
            )  # (world*B, D): gradient reaches negatives too
            loss = nt_xent(z1, z2, self.temperature, all1, all2, offset=rank() * len(z1))
        return Contrast(loss, z1.detach(), over_chance(loss, math.log(2 * len(all1) - 1)))
