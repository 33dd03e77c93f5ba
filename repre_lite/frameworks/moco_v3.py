"""MoCo v3 (Chen, Xie and He, 2021): keys of a slow copy, negatives from the batch, no queue.

Follows the published code: fixed sin-cos positions and a frozen patch projection on a ViT, batch norm without scale or
shift after both heads, the loss times twice the temperature, both directions summed. The encoder keeps timm's first
weights; the published code draws them all, the frozen projection too, by Xavier's rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..encoder import Features, TappedEncoder, fix_sincos_positions, freeze_patch_projection, is_hierarchical
from ..heads import mlp
from ..losses import info_nce
from ..runtime.distributed import gather, rank, world_size
from .base import (
    Contrast,
    Framework,
    at_least_fp32,
    cosine_to_one,
    encode_views,
    follow,
    no_autocast,
    over_chance,
    target_of,
)


class MoCoV3(Framework):
    """`hidden`, `out`: widths of projector (3 layers) and predictor (2); `momentum`: base of the moving average."""

    decay_vectors = True
    watch = "instability shows as dips of the k-NN curve, not as a diverging loss"

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int = 4096,
        out: int = 256,
        temperature: float = 0.2,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(encoder)
        if not is_hierarchical(encoder.backbone):
            fix_sincos_positions(encoder)
            freeze_patch_projection(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.projector = mlp(encoder.width, hidden, out, layers=3, bias=False, last_norm="plain")
        self.predictor = mlp(out, hidden, out, layers=2, bias=False, last_norm="plain")
        self.target_encoder, self.target_projector = target_of(self.online), target_of(self.projector)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
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
