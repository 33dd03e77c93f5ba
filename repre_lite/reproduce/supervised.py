"""The supervised control of tables 2 and 3: the same encoder learned with labels, as long as its rivals without.

At 224 pixels it is timm's, trained on ImageNet-1K by others; at fewer it is trained here, with crops and flips.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.loaders import Batches
from ..data.view import View
from ..data.views import Views
from ..evaluation.kept import Keeper
from ..evaluation.score import unfit
from ..recipes import Recipe, identity
from ..runs import ENCODER, METRICS, RECIPE, describe_encoder, merge_summary, plain_tensors
from ..runtime import distributed, files
from ..runtime.errors import NonFiniteError, UserError
from ..runtime.randomness import fork
from ..training.facts import facts
from ..training.loop import Training

SOURCE = "source"  # the entry of summary.json with the name of a published encoder
PUBLISHED = {
    "vit_small": "deit_small_patch16_224.fb_in1k",
    "vit_base": "deit_base_patch16_224.fb_in1k",
    "swin_tiny": "swin_tiny_patch4_window7_224.ms_in1k",
}
RATE, DECAY, WARMUP = 1e-3, 0.05, 0.05  # AdamW, a share of the steps to warm up; a choice of ours


def train_supervised(recipe: Recipe, folder: Path) -> None:
    """Learn the labels of a recipe's images with its encoder, from the same start, batch and length, into `folder`.

    What is not finished is resumed. Raises UserError for images without labels, and for a loss that is not finite, and
    Stopped after SIGINT or SIGTERM, when all is saved.
    """
    if recipe.image_size == 224:
        if distributed.is_main():
            merge_summary(folder, {"finished": True, SOURCE: PUBLISHED[recipe.arch]})
        return
    training = Training(recipe)
    source, device = training.source, training.device
    if (reason := unfit(source)) is not None:
        raise UserError(f"{recipe.scale}: a supervised control needs labels ({reason}); leave it out with only=")
    if distributed.world_size() > 1:
        raise UserError("the supervised control is trained in one process; run it without torchrun first, with only=")
    assert source.labelled is not None and source.labelled.labels is not None
    images, labels = source.labelled.images, source.labelled.labels.to(device)
    if isinstance(images, Tensor):  # else they stay in their files
        images = images.to(device)
    encoder = training.model.framework.online
    with fork(recipe.seed, "supervised"):
        head = nn.Linear(encoder.width, len(source.labelled.classes)).to(device, training.precision.weights)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=RATE, weight_decay=DECAY)
    batches = Batches(len(images), recipe.batch_size, recipe.seed)
    crops = View(recipe.image_size, scale=(0.5, 1.0), jitter_p=0.0, grey=0.0, blur=0.0)
    views, total = Views((crops,), recipe.seed), training.total_steps
    keeper = Keeper(folder)
    parts = {"encoder": encoder, "head": head, "optimiser": optimiser, "scaler": training.scaler}
    kept = keeper.kept("supervised", lambda: repr((identity(recipe), source.fingerprint)), parts)
    files.truncate_jsonl(folder / METRICS, lambda record: record["step"] <= kept.step)
    files.write_json(folder / RECIPE, facts(training) | {"supervised": True})
    encoder.train()
    with kept.steps(total, device) as steps:
        for step in steps:
            indices, rows = batches.rows(step)
            (view,) = views(images[indices].to(device), step, rows.to(device), training.precision.weights)
            with fork(recipe.seed, f"supervised/{step}", device), training.precision.autocast(device):  # drop-path
                answers = head(encoder(training.model.normalise(view), taps=False).pooled)
            loss = F.cross_entropy(answers.float(), labels[indices.to(device)])
            for group in optimiser.param_groups:
                group["lr"] = (
                    RATE * min(1.0, (step + 1) / max(1, WARMUP * total)) * (1 + math.cos(math.pi * step / total)) / 2
                )
            optimiser.zero_grad(set_to_none=True)
            training.scaler.scale(loss).backward()
            training.scaler.step(optimiser)
            training.scaler.update()
            if step % max(1, total // 100) == 0 or step == total - 1:
                files.append_jsonl(folder / METRICS, {"step": step + 1, "loss": float(loss.detach())})
    last = files.read_jsonl(folder / METRICS)[-1]["loss"]
    if last is None:  # not finite
        keeper.forget()
        raise NonFiniteError.after(total, "the loss is")
    metadata = describe_encoder(encoder, recipe, source.mean, source.std) | {"framework": "supervised"}
    files.save_tensors(folder / ENCODER, plain_tensors(encoder.backbone), metadata)
    merge_summary(folder, {"finished": True, "steps": total, "loss": last})
    keeper.forget()
