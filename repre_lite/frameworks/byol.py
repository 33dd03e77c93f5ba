"""BYOL (Grill et al., 2020): predict the target's projection of the other view; no negatives.

Follows the published code: the squared distance of unit vectors, 2 - 2 cos, both directions summed; the moving average is
updated after the optimiser step. The published code initialises online and target networks from different seeds; here
the target starts as a copy, as in every PyTorch port.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.view import View
from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import negative_cosine
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
    target_of,
)

VIT_S = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "base_lr": 5e-4, "min_lr": 1e-6, "weight_decay": 0.05,
    "method": {"hidden": 4096, "out": 256, "momentum": 0.996},
}  # fmt: skip
VIT_B = {
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "base_lr": 1e-4, "weight_decay": 0.03,
    "encoder_init": "moco_v3", "positions": "sincos", "freeze_patch_projection": True,
    "method": {"hidden": 4096, "out": 256, "momentum": 0.996},
}  # fmt: skip


class BYOL(Framework):
    """`hidden`, `out`: widths of projector and predictor (2 layers each); `momentum`: base of the moving average."""

    row = Row("none", "none", "2 layers", "moving average", "target", "2, asymmetric", "0 to 8")
    small = {"base_lr": 4e-3, "weight_decay": 0.1, "method": {"hidden": 1024, "momentum": 0.99}}
    published = {
        "vit_small": Published(
            "facebookresearch/dino, issue 34: DINO's author on BYOL with ViT-S", VIT_S,
            ours=("batch_size", "warmup_epochs", "min_lr"),
        ),
        "vit_base": Published(
            "Chen, Xie and He (2021), the baselines of its table on ViT; rate and decay not checked against the text",
            VIT_B, ours=("warmup_epochs",),
        ),
        "swin_tiny": Published("no published recipe found; ViT-S's", VIT_S, ours=tuple(VIT_S)),
    }  # fmt: skip
    watch = "a loss that falls to 0 within an epoch is a collapse: raise the momentum or lower the learning rate"
    linear = LinearProtocol("nesterov", epochs=80, batch_size=1024, base_lr=0.2)

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """`asymmetric_views`, resized bicubically."""
        return asymmetric_views(size, "bicubic")

    def __init__(self, encoder: TappedEncoder, hidden: int = 4096, out: int = 256, momentum: float = 0.99) -> None:
        super().__init__(encoder)
        self.momentum = momentum
        self.projector = mlp(encoder.width, hidden, out, layers=2, last_bias=False)
        self.predictor = mlp(out, hidden, out, layers=2, last_bias=False)
        self.target_encoder, self.target_projector = target_of(self.online), target_of(self.projector)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """Both directions of `squared_distance`, summed."""
        z1, z2 = (self.projector(f.pooled) for f in features)  # (B, D) each
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with torch.no_grad():
            t1, t2 = (self.target_projector(f.pooled) for f in encode_views(self.target_encoder, views))
        with no_autocast(z1):
            loss = self.squared_distance(p1, t2) + self.squared_distance(p2, t1)  # in [0, 8]
        return Contrast(loss, z1.detach(), {})

    @staticmethod
    def squared_distance(p: Tensor, t: Tensor) -> Tensor:
        """|p/|p| - t/|t||^2 = 2 + 2 times equation 2, in [0, 4]; mean over images."""
        return 2 + 2 * negative_cosine(at_least_fp32(p), at_least_fp32(t))

    def update_target(self, step: int, total_steps: int) -> None:
        """Average encoder and projector, with the coefficient of this step."""
        coefficient = cosine_to_one(self.momentum, step / total_steps)
        follow(self.target_encoder, self.online, coefficient)
        follow(self.target_projector, self.projector, coefficient)
