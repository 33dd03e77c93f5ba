"""What a run records about itself: recipe.json at the start, summary.json at the end."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ..data.repeats import repeats
from ..recipes import HOW
from ..runtime import distributed
from ..runtime.device import describe_device
from ..runtime.memory import peak_memory
from ..runtime.provenance import git_commit, versions
from .loop import Training
from .step import Step

SURROUNDINGS = ("hardware", "precision_used", "threads", "processes", "versions")  # may change a number slightly


def facts(training: Training) -> dict[str, Any]:
    """The contents of recipe.json: the recipe and everything else that decides the result."""
    source = training.source
    return dataclasses.asdict(training.recipe) | {
        "peak_lr": training.recipe.peak_lr,
        "total_steps": training.total_steps,
        "image_count": len(source.train),
        "classes": list(source.train.classes),
        "fingerprint": source.fingerprint,
        "origin": source.origin,
        "repeats": repeats(source.train),
        "mean": list(source.mean),
        "std": list(source.std),
        "precision_used": training.precision.name,
        "hardware": describe_device(training.device),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "versions": versions(),
        "git_commit": git_commit(),
        "how": list(HOW),
    }


def summary(training: Training, logged: Step, online_knn: float | None, wall_seconds: float) -> dict[str, Any]:
    """The results of a run after its last step, for summary.json. All processes must call it."""
    psnr = None
    if logged.reconstructed is not None:
        error = (logged.reconstructed.detach().float().clamp(0, 1) - logged.views[0].float()).square().mean()
        psnr = float(-10 * torch.log10(distributed.all_mean(error)))
    return {
        "steps": training.step,
        "images_per_second": round(training.step * training.recipe.batch_size / wall_seconds, 1),
        "wall_seconds": round(wall_seconds, 1),
        "peak_memory_bytes": peak_memory(training.device),
        "loss": logged.losses["total"],
        "contrastive": logged.losses["contrastive"],
        "reconstruction_l1": logged.losses["reconstruction"],
        "reconstruction_psnr": psnr,
        "online_knn_top1": online_knn,
        "skipped_images": training.source.skipped,
    }
