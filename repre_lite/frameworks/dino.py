"""DINO (Caron et al., 2021): a student predicts which prototypes its teacher assigns to other crops; no negatives.

Follows the published code: multi-crop, centring and sharpening of the teacher, a last layer that is frozen in the first
epoch. The student is the online network, the teacher the target, and the teacher is what DINO evaluates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..data.view import View
from ..encoder import Features, TappedEncoder
from ..heads import PrototypeHead
from ..losses import dino_cross_entropy
from ..runtime.distributed import all_mean
from ..runtime.errors import UserError
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
    target_of,
)

VIT_B_WIDTH = 768
GLOBAL = 2  # the first two views are the global crops, the only ones the teacher sees

HEAD = {
    "hidden": 2048, "out": 256, "prototypes": 65536, "student_temperature": 0.1, "teacher_start": 0.04,
    "teacher_temperature": 0.07, "temperature_warmup": 30, "frozen_epochs": 1, "centre_momentum": 0.9,
    "momentum": 0.996,
}  # fmt: skip
VIT_S = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "base_lr": 5e-4, "min_lr": 1e-6, "weight_decay": 0.04,
    "weight_decay_end": 0.4, "clip_norm": 3.0, "clip_each": True, "drop_path": 0.1, "encoder_init": "dino",
    "method": HEAD | {"unit_prototypes": False},
}  # fmt: skip
VIT_B = VIT_S | {
    "epochs": 400, "base_lr": 7.5e-4, "min_lr": 2e-6, "clip_norm": 0.3,
    "method": HEAD | {"unit_prototypes": True, "frozen_epochs": 3, "temperature_warmup": 50},
}  # fmt: skip
SWIN = VIT_S | {"min_lr": 1e-5, "encoder_init": "timm", "method": HEAD | {"unit_prototypes": True}}
SOURCE = "facebookresearch/dino: main_dino.py, README.md"
LONG = SOURCE + "; crops of the 800-epoch release as quoted in lightly's benchmarks/imagenet/vitb16/dino.py"


def multi_crop(
    size: int,
    patch: int,
    globally: tuple[float, float] = (0.4, 1.0),
    locally: tuple[float, float] = (0.05, 0.4),
    crops: int = 8,
) -> tuple[View, ...]:
    """Two global crops and `crops` local ones, with shares of the area `globally` and `locally`.

    The local side is 3/7 of `size` (96 for 224), rounded to a multiple of 8 and of whole patches. Below 96 pixels: no
    blur, four local crops.
    """
    blur = (0.0, 0.0, 0.0) if size < 96 else (1.0, 0.1, 0.5)
    whole = math.lcm(8, patch)
    local = View(max(1, round(size * 3 / 7 / whole)) * whole, locally, blur=blur[2], interpolation="bicubic")
    return (
        View(size, globally, blur=blur[0], interpolation="bicubic"),
        View(size, globally, blur=blur[1], solarise=0.2, interpolation="bicubic"),
        *(local,) * (4 if size < 96 else crops),
    )


def long_multi_crop(size: int, patch: int) -> tuple[View, ...]:
    """The crops of ViT-B, and of ViT-S for 800 epochs: ten small local ones beside larger global ones."""
    return multi_crop(size, patch, (0.25, 1.0), (0.05, 0.25), 10)


class DINO(Framework):
    """`prototypes`: width of the output; `temperature_warmup`: epochs over which the teacher's temperature rises from
    `teacher_start` to `teacher_temperature`; `frozen_epochs`: during which the last layer is frozen; `unit_prototypes`:
    whether the last layer's rows keep length 1 (ViT-B) or learn it (ViT-S); `momentum`: base of the moving average;
    `batch_norm`: whether the head has it."""

    row = Row(
        "none", "none", "none", "moving average, centred and sharpened", "target", "2 and local crops", "0 to infinity"
    )
    small = {
        "base_lr": 2e-3, "weight_decay": 0.04, "weight_decay_end": 0.4, "clip_norm": 3.0, "clip_each": True,
        "method": {"hidden": 512, "out": 128, "prototypes": 1024, "momentum": 0.99, "frozen_epochs": 0, "batch_norm": True},
    }  # fmt: skip
    published = {
        "vit_small": Published(SOURCE, VIT_S),
        "vit_small/800": Published(LONG, VIT_S | {"epochs": 800}, ours=("min_lr", "clip_norm"), views=long_multi_crop),
        "vit_base": Published(LONG, VIT_B, ours=("base_lr", "min_lr", "clip_norm", "method"), views=long_multi_crop),
        "swin_tiny": Published(
            "facebookresearch/vissl: config/pretrain/dino/dino_16gpus_deits16.yaml with models/swint_tiny.yaml", SWIN,
            ours=("drop_path", "clip_each"),
        ),
    }  # fmt: skip
    local_crops = True
    loss_rises = True
    watch = (
        "a loss stuck at ln(prototypes) with a KL of 0 is a collapse: lower the teacher temperature or the learning "
        "rate"
    )
    linear = LinearProtocol("sgd", epochs=100, batch_size=1024, base_lr=1e-3, blocks=4)  # ViT-S

    @classmethod
    def linear_for(cls, encoder: TappedEncoder) -> LinearProtocol:
        """As eval_linear.py says: a ViT-S has the class tokens of the last four blocks read, and so have narrower ones
        here; a ViT-B the last one, with the mean over the patches beside it."""
        return cls.linear if encoder.width < VIT_B_WIDTH else replace(cls.linear, blocks=1, patches=True)

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """`multi_crop`."""
        return multi_crop(size, patch)

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
        batch_norm: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.momentum, self.centre_momentum, self.frozen_epochs = momentum, centre_momentum, frozen_epochs
        self.student_temperature = student_temperature
        self.teacher_schedule = (teacher_start, teacher_temperature, temperature_warmup)
        self.head = PrototypeHead(encoder.width, hidden, out, prototypes, unit_prototypes, batch_norm)
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

    def encode(self, views: Sequence[Tensor], taps: int = 0) -> list[Features]:
        """Online features of all crops. Raises UserError if the encoder takes images of one size only."""
        sizes = {view.shape[-1] for view in views}
        if len(sizes) > 1 and getattr(self.online.backbone.patch_embed, "strict_img_size", False):
            raise UserError(
                "DINO's local crops are smaller than this encoder's images; build it with dynamic_img_size=True (ViT) or "
                "strict_img_size=False (Swin)"
            )
        return super().encode(views, taps)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """The cross-entropy between every global crop's teacher and every other crop's student."""
        # the heads see all crops at once, as in the published code, and so does their batch norm
        z = self.head.project(torch.cat([f.pooled for f in features]))  # (views * B, out), of unit length
        student = self.head.score(z).unflatten(0, (len(views), -1))  # (views, B, prototypes)
        with torch.no_grad():
            pooled = torch.cat([f.pooled for f in encode_views(self.target_encoder, views[:GLOBAL])])  # (GLOBAL * B, C)
            teacher = self.target_head(pooled).unflatten(0, (GLOBAL, -1))  # (GLOBAL, B, prototypes)
        with no_autocast(student):
            s, t = at_least_fp32(student), at_least_fp32(teacher)
            loss = dino_cross_entropy(s, t, self.centre, self.student_temperature, self.teacher_temperature)
            self.seen = t.mean((0, 1))[None]  # (1, prototypes)
            log_p = ((t - self.centre) / self.teacher_temperature).log_softmax(-1)
            entropy = -(log_p.exp() * log_p).sum(-1).mean()
        monitors = {"teacher_entropy": entropy, "teacher_student_kl": loss.detach() - entropy}
        return Contrast(loss, z[: len(views[0])].detach(), monitors | over_chance(loss, math.log(s.shape[-1])))

    def drop_gradients(self) -> None:
        """Freeze the last layer in the first epochs."""
        if self.epoch < self.frozen_epochs:
            for parameter in self.head.prototype_parameters():
                parameter.grad = None

    def update_target(self, step: int, total_steps: int) -> None:
        """Average encoder and head, then update the centre with the batch's mean teacher output."""
        coefficient = cosine_to_one(self.momentum, step / total_steps)
        follow(self.target_encoder, self.online, coefficient)
        follow(self.target_head, self.head, coefficient)
        if self.seen is not None:
            self.centre.lerp_(all_mean(self.seen).to(self.centre.dtype), 1 - self.centre_momentum)
            self.seen = None

    @property
    def evaluated(self) -> TappedEncoder:
        """The teacher's encoder."""
        return self.target_encoder
