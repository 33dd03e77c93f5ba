"""SimCLR (Chen et al., 2020): no target and no queue; every other image of the batch is a negative.

Follows the published code: the projector sees both views in one batch and has batch norm after every layer, the last one
with scale and without shift. The published loss is the sum of the two views' means, twice the mean over all 2B anchors
that `nt_xent` returns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.view import View
from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import nt_xent
from ..runtime.distributed import gather_with_gradient, rank
from .base import Contrast, Framework, LinearProtocol, Published, Row, at_least_fp32, no_autocast, over_chance

VIT = {
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "base_lr": 2e-4, "weight_decay": 0.1,
    "encoder_init": "moco_v3", "positions": "sincos", "freeze_patch_projection": True,
    "method": {"layers": 2, "out": 128, "temperature": 0.1},
}  # fmt: skip
SOURCE = "Chen, Xie and He (2021), the baselines of its table on ViT; rate and decay not checked against the text"


class SimCLR(Framework):
    """`hidden`: width inside the projector (None: the encoder's); `layers`: 2, or SimCLR v2's 3; `norm`: batch norm in
    the projector; False gives VISSL's ViT-B/16 head, linear maps with biases (with hidden=3072)."""

    row = Row("the batch, both views", "none", "none", "none", "nowhere", "2", "0 to infinity")
    small = {"base_lr": 4e-3, "weight_decay": 0.1, "method": {"temperature": 0.2}}
    published = {
        "vit_small": Published(SOURCE, VIT | {"encoder": {"num_heads": 12}}, ours=("warmup_epochs", "method")),
        "vit_base": Published(SOURCE, VIT, ours=("warmup_epochs", "method")),
        "swin_tiny": Published("no published recipe found; ViT's", VIT, ours=tuple(VIT)),
    }
    watch = (
        "a loss that stays at ln(2B - 1) means that nothing is learned: raise the batch size or lower the temperature"
    )
    linear = LinearProtocol("nesterov", epochs=90, batch_size=4096, base_lr=0.1)

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """Two views of one kind; below 96 pixels without blur and with colours at half strength, as for CIFAR, and with
        crops of a fifth of the image or more, which is ours."""
        if size < 96:
            return (View(size, (0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur=0.0, interpolation="bicubic"),) * 2
        return (View(size, jitter=(0.8, 0.8, 0.8, 0.2), blur=0.5, interpolation="bicubic"),) * 2

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int | None = None,
        out: int = 128,
        layers: int = 2,
        temperature: float = 0.1,
        norm: bool = True,
    ) -> None:
        super().__init__(encoder)
        self.temperature = temperature
        last_norm = "unbiased" if norm else "none"
        self.projector = mlp(encoder.width, hidden or encoder.width, out, layers, not norm, norm, last_norm=last_norm)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """NT-Xent between both views of the global batch."""
        z1, z2 = self.projector(torch.cat([f.pooled for f in features])).chunk(2)  # (2B, C) -> (B, D) each
        with no_autocast(z1):
            z1, z2 = at_least_fp32(z1), at_least_fp32(z2)
            all1, all2 = (
                gather_with_gradient(z1),
                gather_with_gradient(z2),
            )  # (world*B, D): gradient reaches negatives too
            loss = nt_xent(z1, z2, self.temperature, all1, all2, offset=rank() * len(z1))
        return Contrast(loss, z1.detach(), over_chance(loss, math.log(2 * len(all1) - 1)))
