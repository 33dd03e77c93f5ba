"""Projectors and predictors: the small networks on top of the pooled feature, thrown away after pre-training."""

from __future__ import annotations

from torch import nn

from .runtime.distributed import BatchNorm1d


def mlp(
    width: int,
    hidden: int,
    out: int,
    layers: int,
    bias: bool = True,
    norm: bool = True,
    last_bias: bool | None = None,
    last_norm: str = "none",
) -> nn.Sequential:
    """`layers` linear maps, (B, width) -> (B, out), with batch norm and ReLU between them.

    `bias`: of the hidden linear maps; `norm`: batch norm after each hidden one; `last_bias`: of the last one (None: as
    `bias`); `last_norm`: what follows it, "none", "affine", "plain" (without scale and shift, MoCo v3) or "unbiased"
    (scale without shift, SimCLR).
    """
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        modules.append(nn.Linear(width, hidden, bias=bias))
        if norm:
            modules.append(BatchNorm1d(hidden))
        modules.append(nn.ReLU(inplace=True))
        width = hidden
    modules.append(nn.Linear(width, out, bias=bias if last_bias is None else last_bias))
    if last_norm != "none":
        modules.append(BatchNorm1d(out, affine=last_norm != "plain"))
        if last_norm == "unbiased":
            modules[-1].bias.requires_grad_(False)
    return nn.Sequential(*modules)
