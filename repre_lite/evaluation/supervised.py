"""Protocols that train on augmented crops with labels: `linear-sgd`, a layer on the frozen encoder, and `finetune`.

Slower than the probes on cached features, and with a learning rate that was tuned for ImageNet: for comparison with
published tables. Crops and flips are drawn again in every epoch; images in files are first cut square. Several processes
share every batch. What is not finished is kept by `Task.keeper` and resumed by the same call.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import timm.optim
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbone import unwrap
from ..data.image_set import ImageSet, fingerprint_of
from ..data.view import View
from ..data.views import Views
from ..encoder import TappedEncoder
from ..frameworks.base import LinearProtocol
from ..runtime import distributed
from ..runtime.memory import enough_memory
from ..runtime.modes import evaluating
from ..runtime.randomness import fork, generator, uniform
from ..runtime.weights import fingerprint
from .features import extract_shared, read
from .kept import Keeper, Kept

SHORT = 10  # epochs for images below 96 pixels, unless asked for more
CHUNK = 256  # images in a forward pass
TRUST = 0.001  # of LARS, facebookresearch/simsiam: main_lincls.py
FINETUNE_EPOCHS, FINETUNE_BATCH, FINETUNE_LR = 100, 256, 5e-4  # of ViT-B, facebookresearch/mae: FINETUNE.md
LAYER_DECAY, WEIGHT_DECAY, SMOOTHING, WARMUP, DROP_PATH = 0.65, 0.05, 0.1, 0.05, 0.1
MEMORY = "start several processes with torchrun, which share each batch, or use device='cpu'"


@dataclass(frozen=True)
class Task:
    """What both protocols need: labelled images, normalisation, and the length of training (None: the protocol's).

    `keeper`: where training that is not finished is kept.
    """

    train: ImageSet
    val: ImageSet
    mean: Sequence[float]
    std: Sequence[float]
    epochs: int | None = None
    seed: int = 0
    keeper: Keeper = field(default_factory=Keeper)

    @property
    def classes(self) -> int:
        """Outputs of the layer."""
        assert self.train.labels is not None
        return int(self.train.labels.max()) + 1

    def length(self, published: int, size: int) -> int:
        """Epochs: as asked for, else as published, or ten for images below 96 pixels."""
        return self.epochs or (min(SHORT, published) if size < 96 else published)

    def batches(
        self, size: int, epochs: int, batch: int, device: torch.device, first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's normalised crops (B, 3, size, size) and labels (B,) of every step from the `first` on.

        All images come once an epoch.
        """
        assert self.train.labels is not None
        view = View(size, (0.2, 1.0) if size < 96 else (0.08, 1.0), jitter_p=0.0, grey=0.0, blur=0.0)
        views, steps = Views((view,), self.seed), len(self.train) // batch
        shift, scale = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        share = distributed.share(batch)
        for epoch in range(first // steps, epochs):
            order = torch.randperm(len(self.train), generator=generator(self.seed, f"supervised/{epoch}"))
            for step in range(max(first, epoch * steps), (epoch + 1) * steps):
                rows = order[step % steps * batch :][share.start : share.stop]
                crops = views(self.train.images[rows].to(device), step, rows.to(device))[0]
                yield (crops - shift) / scale, self.train.labels[rows].to(device)

    def kept(
        self, name: str, encoder: TappedEncoder, protocol: object, parts: dict[str, nn.Module | torch.optim.Optimizer]
    ) -> Kept:
        """The training of `parts` by a protocol, as far as it was kept."""

        def what() -> str:
            images = fingerprint_of(self.train, self.val)
            return repr((protocol, images, fingerprint(encoder), self.mean, self.std, self.epochs, self.seed))

        return self.keeper.kept(name, what, parts)


@torch.enable_grad()
@enough_memory(MEMORY)
def linear_sgd_top1(encoder: TappedEncoder, task: Task, protocol: LinearProtocol) -> float:
    """Top-1 accuracy in [0, 1] by a framework's published linear protocol: a layer on the frozen encoder.

    A batch larger than the training set is cut to it, and the rate with it. What is read: see `readable`. Raises
    UserError if memory does not suffice, and Stopped after SIGINT or SIGTERM if the training is kept.
    """
    device = next(encoder.parameters()).device
    reads = readable(encoder, protocol)
    layer = _layer(encoder.width * ((reads[0] or 1) + reads[1]), task).to(device)
    batch = min(protocol.batch_size, len(task.train))
    epochs = task.length(protocol.epochs, encoder.image_size)
    rate = protocol.base_lr * batch / 256
    optimiser = _optimiser(protocol.optimiser, layer, rate)
    total = epochs * (len(task.train) // batch)
    kept = task.kept("linear-sgd", encoder, protocol, {"layer": layer, "optimiser": optimiser})
    if kept.result is not None:
        return kept.result
    batches = task.batches(encoder.image_size, epochs, batch, device, kept.step)
    with evaluating(encoder), kept.steps(total, device) as steps:
        for step, (crops, labels) in zip(steps, batches, strict=False):  # the steps end first
            with torch.no_grad():
                features = torch.cat([read(encoder, part, *reads).float() for part in crops.split(CHUNK)])  # (B, C)
            share = protocol.warmup_epochs / protocol.epochs
            _set_rate(optimiser, rate * factor(step / total, share, protocol.drops))
            loss = _loss(layer(features), labels, protocol.label_smoothing)
            _step(optimiser, loss)
    x = extract_shared(encoder, task.val.images, task.mean, task.std, *reads)
    return kept.finish(_top1(layer(x), task))


@torch.enable_grad()
@enough_memory(MEMORY)
def finetune_top1(encoder: TappedEncoder, task: Task) -> float:
    """Top-1 accuracy in [0, 1] of a copy of the encoder that is trained to the end, with a layer on its pooled feature.

    As MAE fine-tunes a ViT-B (facebookresearch/mae: FINETUNE.md): AdamW, rate 5e-4 for a batch of 256, weight decay 0.05
    (none for vectors, positions and class token), layer decay 0.65, drop-path 0.1 whatever pre-training used, 100 epochs,
    5 % warm-up, cosine, label smoothing 0.1. Unlike MAE: crops and flips are the only augmentation (there also RandAugment,
    random erasing, mixup and cutmix), the batch is 256 (1024), the layer reads the pooled feature (the mean over the
    patches) and begins with a standard deviation of 0.01 (2e-5), the rate ends at 0 (1e-6), and numbers are fp32 (fp16).
    Raises UserError if memory does not suffice, and Stopped after SIGINT or SIGTERM if the training is kept.
    """
    device = next(encoder.parameters()).device
    model = copy.deepcopy(encoder).requires_grad_(True)
    draws = Draws(generator(task.seed, "finetune/drop-path").initial_seed())
    set_drop_path(model.backbone, DROP_PATH, draws)
    layer = _layer(encoder.width, task).to(device)
    batch = min(FINETUNE_BATCH, len(task.train))
    epochs, rate = task.length(FINETUNE_EPOCHS, encoder.image_size), FINETUNE_LR * batch / 256
    optimiser = torch.optim.AdamW(_finetune_groups(model, layer), lr=0.0)
    total = epochs * (len(task.train) // batch)
    share = distributed.share(batch)
    draws.rows = torch.arange(share.start, share.stop, device=device)
    kept = task.kept("finetune", encoder, None, {"model": model, "layer": layer, "optimiser": optimiser})
    if kept.result is not None:
        return kept.result
    batches = task.batches(encoder.image_size, epochs, batch, device, kept.step)
    model.train()
    with fork(task.seed, "finetune"), kept.steps(total, device) as steps:
        for step, (crops, labels) in zip(steps, batches, strict=False):  # the steps end first
            draws.step = step
            _set_rate(optimiser, rate * factor(step / total, WARMUP))
            with fork(task.seed, f"finetune/{step}/{distributed.rank()}", device):  # dropout, if the encoder has any
                loss = _loss(layer(model(crops, taps=False).pooled), labels, SMOOTHING)
            _step(optimiser, loss)
    return kept.finish(_top1(layer(extract_shared(model, task.val.images, task.mean, task.std)), task))


def _finetune_groups(model: TappedEncoder, layer: nn.Linear) -> list[dict[str, Any]]:
    """Groups for AdamW. `lr_scale`: 1 for the layer and the last norm, LAYER_DECAY for the last block, its square for the
    one before. timm gives the last norm that of the last block, and 1 to both without a classifier."""
    backbone: Any = unwrap(model.backbone)
    norm = [value for name, value in backbone.named_parameters() if name.startswith(("norm.", "fc_norm."))]
    groups: list[dict[str, Any]] = timm.optim.param_groups_layer_decay(
        backbone, WEIGHT_DECAY, no_weight_decay_list=backbone.no_weight_decay(), layer_decay=LAYER_DECAY
    )
    for group in groups:
        group["lr_scale"] *= LAYER_DECAY
        group["params"] = [value for value in group["params"] if all(value is not other for other in norm)]
    groups.append({"params": [layer.weight], "weight_decay": WEIGHT_DECAY, "lr_scale": 1.0})
    groups.append({"params": [layer.bias, *norm], "weight_decay": 0.0, "lr_scale": 1.0})
    return groups


@dataclass
class Draws:
    """What the draws of `DropPath` depend on: a seed, the step, and this process's rows of the batch, int64 (B,)."""

    seed: int
    step: int = 0
    rows: Tensor = field(default_factory=lambda: torch.arange(0))


class DropPath(nn.Module):
    """Drop-path at `rate` in [0, 1): x (B, ...) is 0 for that share of the images, and larger for the others.

    The draws are the same on every device and for any number of processes. `purpose` tells those of a step apart.
    """

    def __init__(self, rate: float, purpose: int, draws: Draws) -> None:
        super().__init__()
        self.rate, self.purpose, self.draws = rate, purpose, draws

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself in evaluation mode."""
        if not self.training or not self.rate:
            return x
        drawn = uniform(self.draws.seed, self.draws.step, self.draws.rows, self.purpose, 1)  # (B, 1)
        kept = (drawn >= self.rate).to(x.dtype) / (1 - self.rate)
        return x * kept.view(-1, *[1] * (x.ndim - 1))


def set_drop_path(backbone: nn.Module, rate: float, draws: Draws) -> None:
    """Replace the drop-path of a timm model, whatever it is: from 0 in the first block to `rate` in the last."""
    places = [
        [(part, name) for name, _ in part.named_children() if name.startswith("drop_path")]
        for part in backbone.modules()
    ]
    blocks = [place for place in places if place]
    for number, block in enumerate(blocks):
        for branch, (part, name) in enumerate(block):
            own = rate * number / max(1, len(blocks) - 1)
            setattr(part, name, DropPath(own, 2 * number + branch, draws))


def readable(encoder: TappedEncoder, protocol: LinearProtocol) -> tuple[int | None, bool]:
    """`blocks` and `patches` of the protocol: at most all blocks; the pooled feature, None, without a class token."""
    model: Any = unwrap(encoder.backbone)
    if protocol.blocks is None or getattr(model, "cls_token", None) is None:
        return None, False
    return min(protocol.blocks, len(model.feature_info)), protocol.patches


def factor(progress: float, warmup: float, drops: Sequence[float] = ()) -> float:
    """What the peak rate is multiplied by at `progress` in [0, 1): linear warm-up over a share `warmup` of the run, then
    half a cosine to 0, or a tenth from each of `drops` on."""
    if progress < warmup:
        return progress / warmup
    if drops:
        return float(0.1 ** sum(progress >= drop for drop in drops))
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def _layer(width: int, task: Task) -> nn.Linear:
    """A new layer, weights from a normal distribution of 0.01, no bias yet, as in the code of MoCo and DINO."""
    with fork(task.seed, "linear layer"):
        layer = nn.Linear(width, task.classes)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return layer


def _optimiser(name: str, layer: nn.Linear, rate: float) -> torch.optim.Optimizer:
    if name == "lars":  # as apex's LARC with clip=False, which adapts without weight decay too; timm's does if asked
        return timm.optim.Lars(layer.parameters(), lr=rate, momentum=0.9, trust_coeff=TRUST, always_adapt=True)
    return torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9, nesterov=name == "nesterov")


def _loss(scores: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of scores (B, classes): its sum over processes is the mean over the whole batch."""
    count = distributed.all_sum(torch.tensor(float(len(labels)), device=scores.device))
    return F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="sum") / count


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    distributed.sum_gradients(parameter for group in optimiser.param_groups for parameter in group["params"])
    optimiser.step()


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


@torch.no_grad()
def _top1(scores: Tensor, task: Task) -> float:
    assert task.val.labels is not None
    return float((scores.argmax(1) == task.val.labels.to(scores.device)).float().mean())
