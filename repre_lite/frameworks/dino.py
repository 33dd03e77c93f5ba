"""DINO (Caron et al., 2021): a student predicts which prototypes its teacher assigns to other crops; no negatives.

Follows the published code: multi-crop, centring and sharpening of the teacher, a last layer that rests in the first
epoch. Student is the online network here, teacher the target, and the teacher is what DINO evaluates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..encoder import Features, TappedEncoder
from ..heads import PrototypeHead
from ..losses import dino_cross_entropy
from ..runtime.distributed import all_mean
from ..runtime.errors import UserError
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

GLOBAL = 2  # the first two views are the global crops, the only ones the teacher sees


class DINO(Framework):
    """`prototypes`: width of the output; `temperature_warmup`: epochs over which the teacher's temperature rises from
    `teacher_start` to `teacher_temperature`; `frozen_epochs`: in which the last layer rests; `unit_prototypes`: whether
    the last layer's rows keep length 1 (as for ViT-B) or learn it (ViT-S); `momentum`: base of the moving average."""

    watch = "a loss stuck at ln(prototypes) with a KL of 0 is a collapse: lower teacher temperature or rate"

    def __init__(
        self,
        encoder: TappedEncoder,
        hidden: int = 2048,
        out: int = 256,
        prototypes: int = 65536,
        unit_prototypes: bool = True,
        student_temperature: float = 0.1,
        teacher_start: float = 0.04,
        teacher_temperature: float = 0.04,
        temperature_warmup: int = 0,
        frozen_epochs: int = 1,
        centre_momentum: float = 0.9,
        momentum: float = 0.996,
    ) -> None:
        super().__init__(encoder)
        self.momentum, self.centre_momentum, self.frozen_epochs = momentum, centre_momentum, frozen_epochs
        self.student_temperature = student_temperature
        self.teacher_schedule = (teacher_start, teacher_temperature, temperature_warmup)
        self.head = PrototypeHead(encoder.width, hidden, out, prototypes, unit_prototypes)
        self.target_encoder, self.target_head = target_of(self.online), target_of(self.head)
        self.epoch = 0
        self.centre: Tensor
        self.teacher_temperature: Tensor
        self.register_buffer("centre", torch.zeros(1, prototypes))
        self.register_buffer("teacher_temperature", torch.zeros(()), persistent=False)
        self.seen: Tensor | None = None  # this batch's centre, waiting for `update_target`
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """The teacher's temperature: linear from epoch to epoch, constant after the warm-up."""
        self.epoch = epoch
        start, end, warmup = self.teacher_schedule
        progress = 1.0 if epoch >= warmup else epoch / max(1, warmup - 1)
        self.teacher_temperature.fill_(start + (end - start) * progress)

    def encode(self, views: Sequence[Tensor], taps: bool = False) -> list[Features]:
        sizes = {view.shape[-1] for view in views}
        if len(sizes) > 1 and getattr(self.online.backbone.patch_embed, "strict_img_size", False):
            raise UserError(
                "DINO's local crops are smaller than this encoder's pictures; build it with dynamic_img_size=True "
                "(a ViT) or strict_img_size=False (a Swin)"
            )
        return super().encode(views, taps)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        z = [self.head.project(f.pooled) for f in features]  # (B, out) each, of unit length
        student = [self.head.score(vector) for vector in z]  # (B, prototypes) each
        with torch.no_grad():
            teacher = [self.target_head(f.pooled) for f in encode_views(self.target_encoder, views[:GLOBAL])]
        with no_autocast(student[0]):
            s, t = at_least_fp32(torch.stack(student)), at_least_fp32(torch.stack(teacher))  # (views, B, prototypes)
            loss = dino_cross_entropy(s, t, self.centre, self.student_temperature, self.teacher_temperature)
            self.seen = t.mean((0, 1))[None]  # (1, prototypes)
            log_p = ((t - self.centre) / self.teacher_temperature).log_softmax(-1)
            entropy = -(log_p.exp() * log_p).sum(-1).mean()
        monitors = {"teacher_entropy": entropy, "teacher_student_kl": loss.detach() - entropy}
        return Contrast(loss, z[0].detach(), monitors | over_chance(loss, math.log(s.shape[-1])))

    def drop_gradients(self) -> None:
        """The last layer does not learn in the first epochs."""
        if self.epoch < self.frozen_epochs:
            for parameter in self.head.prototype_parameters():
                parameter.grad = None

    def update_target(self, step: int, total_steps: int) -> None:
        coefficient = cosine_to_one(self.momentum, step / total_steps)
        follow(self.target_encoder, self.online, coefficient)
        follow(self.target_head, self.head, coefficient)
        if self.seen is not None:
            self.centre.lerp_(all_mean(self.seen).to(self.centre.dtype), 1 - self.centre_momentum)
            self.seen = None

    @property
    def evaluated(self) -> TappedEncoder:
        return self.target_encoder
