"""MoCo v2 (Chen et al., 2020): a queue of keys from a target encoder; queries come from view 1, keys from view 2.

Follows the published code: a projector without batch norm, no predictor, keys enter the queue after the loss. Algorithm 1
of RePre is symmetric, MoCo v2 is not: `symmetric` gives the mean of both directions, at twice the cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.view import View
from ..encoder import Features, TappedEncoder
from ..heads import mlp
from ..losses import info_nce_queue
from ..runtime.distributed import gather
from .base import (
    Contrast,
    Framework,
    LinearProtocol,
    Published,
    Row,
    at_least_fp32,
    cosine_to_one,
    encode_views,
    follow,
    no_autocast,
    over_chance,
    symmetric_views,
    target_of,
)
from .queue import Queue

VIT_S = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "base_lr": 5e-4, "min_lr": 1e-6, "weight_decay": 0.05,
    "method": {"layers": 3, "out": 128, "queue": 65536, "temperature": 0.1, "momentum": 0.996, "momentum_rises": True},
}  # fmt: skip
VIT_B = {  # the base value is 5e-4 for a batch of 4,096, by which VISSL scales the schedule
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 30, "base_lr": 5e-4 * 256 / 4096, "weight_decay": 0.05,
    "clip_norm": 1.0,
    "method": {"layers": 2, "hidden": 2048, "out": 128, "queue": 65536, "temperature": 0.2, "momentum": 0.999},
}  # fmt: skip


def vissl_views(size: int, patch: int) -> tuple[View, ...]:
    """The views of ViT-B's recipe: larger crops and stronger colours than MoCo v2's own."""
    return (View(size, jitter=(0.8, 0.8, 0.8, 0.2), blur=0.5),) * 2


class MoCoV2(Framework):
    """`hidden`: width inside the projector (None: the encoder's); `queue`: its length; `momentum`: of the moving average,
    constant as published unless `momentum_rises` to 1 by half a cosine (the recipe for ViTs)."""

    row = Row("the queue", "1", "none", "moving average", "target", "2, one direction", "0 to infinity")
    small = {
        "base_lr": 2e-3, "weight_decay": 0.1,
        "method": {"queue": 256, "temperature": 0.07, "momentum": 0.99, "momentum_rises": True},
    }  # fmt: skip
    published = {
        "vit_small": Published(
            "facebookresearch/dino, issue 34: DINO's author on MoCo v2 with ViT-S", VIT_S,
            ours=("batch_size", "warmup_epochs", "min_lr"),
        ),
        "vit_base": Published(
            "facebookresearch/vissl: config/pretrain/vision_transformer/moco/vit_b16.yaml", VIT_B, ours=("clip_norm",),
            views=vissl_views,
        ),
        "swin_tiny": Published("no published recipe found; ViT-S's", VIT_S, ours=tuple(VIT_S)),
    }  # fmt: skip
    loss_rises = True
    watch = (
        "a loss at ln(1 + queue) after the first epoch means that nothing is learned: lower the learning rate or "
        "shorten the queue"
    )
    linear = LinearProtocol("sgd", epochs=100, batch_size=256, base_lr=30.0, drops=(0.6, 0.8))

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """Two views of one kind."""
        return symmetric_views(size)

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int | None = None,
        out: int = 128,
        layers: int = 2,
        queue: int = 65536,
        temperature: float = 0.2,
        momentum: float = 0.999,
        momentum_rises: bool = False,
        symmetric: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.momentum, self.momentum_rises = temperature, momentum, momentum_rises
        self.symmetric = symmetric
        self.projector = mlp(encoder.width, hidden or encoder.width, out, layers, norm=False)
        self.target_encoder, self.target_projector = target_of(self.online), target_of(self.projector)
        self.queue = Queue(queue, out)
        self.fresh: Tensor | None = None  # keys that wait for `update_target`

    @property
    def online_views(self) -> int:
        """Both views if `symmetric`, else view 1."""
        return 2 if self.symmetric else 1

    def encode(self, views: Sequence[Tensor], taps: int = 0) -> list[Features]:
        """Online features of view 1, or of both views if `symmetric`."""
        return encode_views(self.online, views if self.symmetric else views[:1], taps)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """Equation 1 with the queue's keys as negatives."""
        q = [self.projector(f.pooled) for f in features]  # (B, D): of view 1, or of both
        key_views = views if self.symmetric else views[1:]
        with torch.no_grad():
            k = [self.target_projector(f.pooled) for f in encode_views(self.target_encoder, key_views)]
        with no_autocast(q[0]):
            k = [F.normalize(at_least_fp32(key), dim=1) for key in k]  # (B, D): of view 2, or of both
            queue, temperature = self.queue.keys, self.temperature
            pairs = zip(q, reversed(k), strict=True)
            losses = [info_nce_queue(at_least_fp32(query), key, queue, temperature) for query, key in pairs]
            loss = torch.stack(losses).mean()
        self.fresh = torch.cat([gather(key) for key in k])
        return Contrast(loss, q[0].detach(), over_chance(loss, math.log(1 + len(queue))))

    def update_target(self, step: int, total_steps: int) -> None:
        """The published code averages at the start of step s + 1, before its keys: the same as here."""
        rising = cosine_to_one(self.momentum, (step + 1) / total_steps)
        coefficient = rising if self.momentum_rises else self.momentum
        follow(self.target_encoder, self.online, coefficient)
        follow(self.target_projector, self.projector, coefficient)
        if self.fresh is not None:
            self.queue.push(self.fresh)
            self.fresh = None
