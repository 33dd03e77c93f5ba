"""MoCo v3 (Chen, Xie and He, 2021): keys from a moving average of the encoder, negatives from the batch, no queue.

Follows the published code: batch norm without scale and shift after both heads, the loss times twice the temperature,
both directions summed. The published encoder has Xavier's initialisation, fixed sin-cos positions and a frozen patch
projection; these are settings of `build_encoder`, and the recipes of MoCo v3 choose them: after 100 steps on JPEG copies of
CIFAR-10, k-NN is 5 points higher with this initialisation than with timm's, positions and frozen projection alike in both
(results/initialisation.json).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.view import View
from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import info_nce
from ..runtime.distributed import gather, rank, world_size
from .base import (
    Contrast,
    Framework,
    LinearProtocol,
    Published,
    Row,
    asymmetric_views,
    at_least_fp32,
    cosine_to_one,
    encode_views,
    follow,
    no_autocast,
    over_chance,
    target_of,
)

ENCODER = {"encoder_init": "moco_v3", "positions": "sincos", "freeze_patch_projection": True}
HEADS = {"hidden": 4096, "out": 256, "temperature": 0.2, "momentum": 0.99}
VIT = ENCODER | {
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "base_lr": 1.5e-4, "weight_decay": 0.1, "method": HEADS,
}  # fmt: skip
SWIN = ENCODER | {  # MoBY's optimiser; a Swin has no absolute positions
    "batch_size": 512, "epochs": 300, "warmup_epochs": 5, "base_lr": 5e-4, "min_lr": 5e-6, "weight_decay": 0.05,
    "clip_norm": 5.0, "method": HEADS,
}  # fmt: skip
SOURCE = "facebookresearch/moco-v3: main_moco.py, CONFIG.md, vits.py, moco/builder.py"


class MoCoV3(Framework):
    """`hidden`, `out`: widths of projector (3 layers) and predictor (2); `momentum`: base of the moving average."""

    row = Row("the batch, other view", "none", "2 layers", "moving average", "target", "2, asymmetric", "0 to infinity")
    small = ENCODER | {"base_lr": 4e-3, "weight_decay": 0.1, "method": {"hidden": 1024, "momentum": 0.95}}
    published = {
        "vit_small": Published(SOURCE, VIT | {"encoder": {"num_heads": 12}}),
        "vit_base": Published(SOURCE, VIT),
        "swin_tiny": Published("no published recipe found; MoBY's optimiser with MoCo v3's heads", SWIN, tuple(SWIN)),
    }
    decay_vectors = True
    watch = "instability shows as dips of the k-NN curve, not as a diverging loss"
    linear = LinearProtocol("sgd", epochs=90, batch_size=1024, base_lr=3.0)

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """`asymmetric_views`."""
        return asymmetric_views(size)

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int = 4096,
        out: int = 256,
        temperature: float = 0.2,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.projector = mlp(encoder.width, hidden, out, layers=3, bias=False, last_norm="plain")
        self.predictor = mlp(out, hidden, out, layers=2, bias=False, last_norm="plain")
        self.target_encoder, self.target_projector = target_of(self.online), target_of(self.projector)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """Both directions of `contrast_one_way`, summed."""
        z1, z2 = (self.projector(f.pooled) for f in features)  # (B, D) each
        q1, q2 = self.predictor(z1), self.predictor(z2)  # queries
        with torch.no_grad():
            k1, k2 = (self.target_projector(f.pooled) for f in encode_views(self.target_encoder, views))  # keys
        loss = self.contrast_one_way(q1, k2) + self.contrast_one_way(q2, k1)
        chance = 2 * 2 * self.temperature * math.log(world_size() * len(z1))
        return Contrast(loss, z1.detach(), over_chance(loss, chance))

    def contrast_one_way(self, q: Tensor, k: Tensor) -> Tensor:
        """Equation 1 between queries of one view and all processes' keys of the other, times 2 T as published."""
        with no_autocast(q):
            q, k = at_least_fp32(q), gather(at_least_fp32(k))  # (B, D), (world*B, D)
            return 2 * self.temperature * info_nce(q, k, self.temperature, offset=rank() * len(q))

    def update_target(self, step: int, total_steps: int) -> None:
        """The published code averages at the start of step s + 1 with the coefficient of s + 1: the same as here."""
        coefficient = cosine_to_one(self.momentum, (step + 1) / total_steps)
        follow(self.target_encoder, self.online, coefficient)
        follow(self.target_projector, self.projector, coefficient)
