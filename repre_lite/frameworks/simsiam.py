"""SimSiam (Chen and He, 2021): BYOL without target network; a predictor and a stopped gradient hold off the collapse.

Follows the published code: batch norm without scale and shift after the projector, a bottleneck predictor whose learning
rate stays constant. The published projector's last bias, frozen there, is left out: batch norm removes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import negative_cosine
from .base import Contrast, Framework, at_least_fp32, no_autocast


class SimSiam(Framework):
    """`hidden`: width inside the projector (None: the encoder's); `out`: of z; `bottleneck`: inside the predictor."""

    loss_floor = -1.0
    watch = "collapse shows as a loss near -1 while the embedding's spread goes to 0: lower the rate"

    def __init__(
        self, encoder: TappedEncoder, hidden: int | None = None, out: int = 2048, bottleneck: int = 512
    ) -> None:
        super().__init__(encoder)
        self.projector = mlp(encoder.width, hidden or encoder.width, out, layers=3, bias=False, last_norm="plain")
        self.predictor = mlp(out, bottleneck, out, layers=2, bias=False, last_bias=True)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        z1, z2 = (self.projector(f.pooled) for f in features)  # (B, D) each
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with no_autocast(z1):
            p1, p2, z1, z2 = (at_least_fp32(x) for x in (p1, p2, z1, z2))
            loss = (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2  # in [-1, 1]
        return Contrast(loss, z1.detach(), {})

    def constant_rate(self) -> list[nn.Module]:
        return [self.predictor]
