"""The optimiser, its parameter groups and the schedules of rate and decay."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..frameworks import framework_class
from ..recipes import Recipe
from ..repre import RePre


def parameter_groups(model: RePre, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups for AdamW, every trained parameter in exactly one of them.

    `scheduled`: whether the rate follows the schedule. Biases and norms are free of weight decay unless the framework
    decays them too; the log-variances never decay and have a rate of their own, since Adam moves them at most by their
    rate a step and the framework's would take an epoch to follow a falling loss.
    """
    constant = {id(p) for module in model.framework.constant_rate() for p in module.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    log_variances = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("weighting."):
            log_variances.append(parameter)
            continue
        decays = parameter.ndim > 1 or (model.framework.decay_vectors and name.startswith("framework."))
        groups.setdefault((decays, id(parameter) not in constant), []).append(parameter)
    made: list[dict[str, Any]] = [
        {"params": parameters, "decays": decays, "scheduled": scheduled, "lr": recipe.peak_lr}
        for (decays, scheduled), parameters in groups.items()
    ]
    if log_variances:
        made.append({"params": log_variances, "decays": False, "scheduled": False, "lr": recipe.weighting_lr})
    return made


def build_optimiser(model: RePre, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, in its fused form where the device has one."""
    device = next(model.parameters()).device
    groups = parameter_groups(model, recipe)
    return torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, weight_decay=0.0, fused=device.type in ("cpu", "cuda"))


def rate_at(recipe: Recipe, step: int, total_steps: int, warmup_steps: int) -> float:
    """The learning rate of a step, counted from 0: linear warm-up from 0, then half a cosine down to `min_lr`.

    As in MoCo v3's code the first step has rate 0, step `warmup_steps` has the peak, and the cosine begins there; DINO's
    reaches the peak one step earlier. MoBY's cosine begins at step 0, so that the rate is below the peak after warm-up.
    """
    peak = recipe.peak_lr
    if step < warmup_steps:
        return peak * step / warmup_steps
    start = warmup_steps if framework_class(recipe.framework).cosine_after_warmup else 0
    progress = (step - start) / max(1, total_steps - start)
    return recipe.min_lr + (peak - recipe.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def decay_at(recipe: Recipe, step: int, total_steps: int) -> float:
    """Weight decay at a step: constant, or DINO's half cosine from `weight_decay` to `weight_decay_end`."""
    if recipe.weight_decay_end is None:
        return recipe.weight_decay
    rise = (1 - math.cos(math.pi * step / max(1, total_steps))) / 2
    return recipe.weight_decay + (recipe.weight_decay_end - recipe.weight_decay) * rise


def set_schedule(optimiser: torch.optim.Optimizer, rate: float, decay: float) -> None:
    """Write a step's rate and decay into the groups they belong to."""
    for group in optimiser.param_groups:
        if group["scheduled"]:
            group["lr"] = rate
        group["weight_decay"] = decay if group["decays"] else 0.0


def clip(model: RePre, recipe: Recipe) -> dict[str, Tensor]:
    """Clip the framework's gradients as if the contrastive loss had weight one; does nothing if the recipe does not clip.

    The branch's weight of the contrastive loss (Eq. 4) scales its gradient and a published threshold is absolute, so
    norms are divided by that weight before they are compared with `clip_norm`: with and without the branch, the same
    contrastive gradient is clipped alike. Decoder and log-variances are neither clipped nor part of the norm. All
    parameters share one norm (MoBY), or each has its own (DINO, `clip_each`).

    Returns `gradient_norm`, the norm of all together before clipping, at weight one, and `gradient_scale` in (0, 1],
    the share of it that is kept. Nothing is read from the device.
    """
    if recipe.clip_norm is None:
        return {}
    parameters = [p for p in model.framework.parameters() if p.grad is not None]
    weight = model.weights[0]
    weight = torch.ones(()) if weight is None else weight.where(weight > 0, 1)  # 1 if contrast has no part in the loss
    before = _norm(parameters) / weight
    if not recipe.clip_each:
        nn.utils.clip_grads_with_norm_(parameters, recipe.clip_norm, before)
        return {"gradient_norm": before, "gradient_scale": (recipe.clip_norm / before).clamp(max=1)}
    for parameter in parameters:
        nn.utils.clip_grads_with_norm_(parameter, recipe.clip_norm, _norm([parameter]) / weight)
    return {"gradient_norm": before, "gradient_scale": (_norm(parameters) / weight / before).clamp(max=1)}


def _norm(parameters: list[nn.Parameter]) -> Tensor:
    """The norm of the gradients of all `parameters` together."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
