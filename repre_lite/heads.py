"""Projectors, predictors, prototypes: the small networks on top of the pooled feature, discarded after pre-training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .initialise import truncated_normal
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
    """A projector or predictor (section 3.1): `layers` linear maps with batch norm and ReLU between them.

    (B, width) -> (B, out), `hidden` wide inside. `bias`: of the hidden linear maps; `norm`: batch norm after each hidden
    one; `last_bias`: of the last one (None: as `bias`); `last_norm`: what follows it, "none", "affine", "plain" (without
    scale and shift, MoCo v3) or "unbiased" (scale without shift, SimCLR).
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


class PrototypeHead(nn.Module):
    """DINO's head: an MLP of 3 layers with GELU, a unit vector, its product with prototypes.

    (B, width) -> (B, prototypes). `norm`: batch norm after each hidden layer, as the published code has it on request
    (`--use_bn_in_head`). The last layer is weight-normalised and has no bias: `directions` (prototypes, out),
    scaled to unit length, times `gains` (prototypes, 1), which stay 1 if `unit`.
    """

    def __init__(
        self, width: int, hidden: int, out: int, prototypes: int, unit: bool = True, norm: bool = False
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for fan_in in (width, hidden):
            modules.append(nn.Linear(fan_in, hidden))
            if norm:
                modules.append(BatchNorm1d(hidden))
            modules.append(nn.GELU())
        self.mlp = nn.Sequential(*modules, nn.Linear(hidden, out))
        truncated_normal(self.mlp)
        self.directions = nn.Parameter(nn.Linear(out, prototypes, bias=False).weight.detach())
        self.gains = nn.Parameter(torch.ones(prototypes, 1), requires_grad=not unit)

    def prototype_parameters(self) -> list[nn.Parameter]:
        """Those of the last layer, which DINO freezes in the first epoch."""
        return [self.directions, self.gains]

    def project(self, x: Tensor) -> Tensor:
        """(B, width) -> unit vectors (B, out)."""
        return F.normalize(self.mlp(x), dim=1, eps=1e-6)

    def score(self, z: Tensor) -> Tensor:
        """Unit vectors (B, out) -> their product with every prototype, (B, prototypes)."""
        return F.linear(z, F.normalize(self.directions, dim=1) * self.gains)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> the product of its unit vector with every prototype, (B, prototypes)."""
        return self.score(self.project(x))
