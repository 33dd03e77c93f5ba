"""MoBY (Xie et al., 2021): MoCo's queue and BYOL's predictor, on a Swin; drop-path only in the online encoder.

Follows the published code: two queues, one for each view's keys; both directions summed, without MoCo v3's factor 2 T.
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
    asymmetric_views,
    at_least_fp32,
    cosine_to_one,
    encode_views,
    follow,
    no_autocast,
    over_chance,
    target_of,
)
from .queue import Queue

IMAGENET = {
    "batch_size": 512, "epochs": 300, "warmup_epochs": 5, "base_lr": 5e-4, "min_lr": 5e-6, "weight_decay": 0.05,
    "clip_norm": 5.0, "drop_path": 0.2,
    "method": {"hidden": 4096, "out": 256, "queue": 4096, "temperature": 0.2, "momentum": 0.99},
}  # fmt: skip
SOURCE = "SwinTransformer/Transformer-SSL: configs/moby_*.yaml, models/moby.py"


class MoBY(Framework):
    """`hidden`, `out`: widths of projector and predictor (2 layers each); `queue`: length of each of the two;
    `momentum`: base of the moving average. Drop-path is the online encoder's own setting."""

    row = Row("the queues", "2", "2 layers", "moving average, no drop-path", "target", "2, asymmetric", "0 to infinity")
    small = {
        "base_lr": 4e-3, "weight_decay": 0.05, "clip_norm": 5.0, "drop_path": 0.1,
        "method": {"hidden": 1024, "queue": 1024, "momentum": 0.95},
    }  # fmt: skip
    published = {
        "vit_small": Published(SOURCE, IMAGENET),
        "vit_base": Published("no published recipe found; ViT-S's", IMAGENET, ours=tuple(IMAGENET)),
        "swin_tiny": Published(SOURCE, IMAGENET),
    }
    cosine_after_warmup = False
    loss_rises = True
    watch = (
        "a loss at 2 ln(1 + queue) after the first epoch means that nothing is learned: lower the learning rate or "
        "shorten the queue"
    )
    linear = LinearProtocol("sgd", epochs=100, batch_size=512, base_lr=0.5, warmup_epochs=5, label_smoothing=0.1)

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """`asymmetric_views`."""
        return asymmetric_views(size)

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int = 4096,
        out: int = 256,
        queue: int = 4096,
        temperature: float = 0.2,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.projector = mlp(encoder.width, hidden, out, layers=2)
        self.predictor = mlp(out, hidden, out, layers=2)
        self.target_encoder, self.target_projector = target_of(self.online), target_of(self.projector)
        self.queue1, self.queue2 = Queue(queue, out), Queue(queue, out)
        self.fresh: tuple[Tensor, Tensor] | None = None  # keys that wait for `update_target`

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """Both directions of `contrast_one_way`, summed."""
        z1, z2 = (self.projector(f.pooled) for f in features)  # (B, D) each
        q1, q2 = self.predictor(z1), self.predictor(z2)  # queries
        with torch.no_grad():
            keys = [self.target_projector(f.pooled) for f in encode_views(self.target_encoder, views)]
        with no_autocast(z1):
            k1, k2 = (F.normalize(at_least_fp32(k), dim=1) for k in keys)
            loss = self.contrast_one_way(q1, k2, self.queue2) + self.contrast_one_way(q2, k1, self.queue1)
        self.fresh = gather(k1), gather(k2)
        return Contrast(loss, z1.detach(), over_chance(loss, 2 * math.log(1 + len(self.queue1.keys))))

    def contrast_one_way(self, q: Tensor, k: Tensor, queue: Queue) -> Tensor:
        """Equation 1 between the queries of one view and the keys, new and queued, of the other."""
        return info_nce_queue(at_least_fp32(q), k, queue.keys, self.temperature)

    def update_target(self, step: int, total_steps: int) -> None:
        """The published code averages at the start of step s + 1 with the coefficient of s + 1: the same as here."""
        coefficient = cosine_to_one(self.momentum, (step + 1) / total_steps)
        follow(self.target_encoder, self.online, coefficient)
        follow(self.target_projector, self.projector, coefficient)
        if self.fresh is not None:
            self.queue1.push(self.fresh[0])
            self.queue2.push(self.fresh[1])
            self.fresh = None
