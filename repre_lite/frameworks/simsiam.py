"""SimSiam (Chen and He, 2021): BYOL without a target network; a predictor and a stopped gradient prevent collapse.

Follows the published code: batch norm without scale and shift after the projector, a bottleneck predictor whose learning
rate stays constant. The published projector's last bias, frozen there, is left out, since batch norm removes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..data.view import View
from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import negative_cosine
from .base import Contrast, Framework, LinearProtocol, Published, Row, at_least_fp32, no_autocast, symmetric_views

IMAGENET = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "base_lr": 1.5e-4, "weight_decay": 0.1,
    "method": {"out": 2048, "bottleneck": 512},
}  # fmt: skip
OURS = Published("no published recipe found for a transformer", IMAGENET, ours=tuple(IMAGENET))


class SimSiam(Framework):
    """`hidden`: width inside the projector (None: the encoder's); `out`: of z; `bottleneck`: inside the predictor."""

    row = Row("none", "none", "2 layers, bottleneck", "none", "second branch", "2", "-1 to 1")
    small = {"base_lr": 2e-3, "weight_decay": 0.1, "method": {"out": 2048, "bottleneck": 512}}
    published = {"vit_small": OURS, "vit_base": OURS, "swin_tiny": OURS}
    loss_floor = -1.0
    watch = "a loss near -1 while embedding_std goes to 0 is a collapse: lower the learning rate"
    linear = LinearProtocol("lars", epochs=90, batch_size=4096, base_lr=0.1)

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """MoCo v2's."""
        return symmetric_views(size)

    def __init__(
        self, encoder: TappedEncoder, hidden: int | None = None, out: int = 2048, bottleneck: int = 512
    ) -> None:
        super().__init__(encoder)
        self.projector = mlp(encoder.width, hidden or encoder.width, out, layers=3, bias=False, last_norm="plain")
        self.predictor = mlp(out, bottleneck, out, layers=2, bias=False, last_bias=True)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """Equation 2 in both directions, averaged."""
        z1, z2 = (self.projector(f.pooled) for f in features)  # (B, D) each
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with no_autocast(z1):
            p1, p2, z1, z2 = (at_least_fp32(x) for x in (p1, p2, z1, z2))
            loss = (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2  # in [-1, 1]
        return Contrast(loss, z1.detach(), {})

    def constant_rate(self) -> list[nn.Module]:
        """The predictor."""
        return [self.predictor]
