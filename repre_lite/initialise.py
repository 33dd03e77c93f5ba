"""How weights start: the published initialisations of encoders, given as timm models, and the decoder's.

timm's own initialisation of a ViT is a truncated normal of std 0.02 for linear maps and positions, std 1e-6 for the
class token, zero biases. MoCo v3 and DINO publish others; any framework can use any of them. All sample from
torch's default generator, so `runtime.randomness.fork` makes them repeatable.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .runtime.errors import UserError

ENCODER_INITS = ("timm", "moco_v3", "dino")
POSITIONS = ("learned", "sincos")
DECODER_INITS = ("he", "torch")


def initialise_encoder(backbone: Any, scheme: str) -> None:
    """Initialise a timm ViT or Swin by `scheme`: "timm" (leaves it as it is), "moco_v3" or "dino"."""
    if scheme not in ENCODER_INITS:
        raise UserError(f"encoder_init={scheme}: choose one of {', '.join(ENCODER_INITS)}")
    if scheme == "moco_v3":
        moco_v3_initialise(backbone)
    if scheme == "dino":
        dino_initialise(backbone)


@torch.no_grad()
def moco_v3_initialise(backbone: Any) -> None:
    """MoCo v3's published initialisation: Xavier uniform, zero biases, a class token of std 1e-6.

    The joint projection to queries, keys and values counts as three maps, the patch projection as a linear map of its
    pixels. A Swin is initialised alike, as far as it has these parts.
    """
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear):
            outputs, inputs = module.weight.shape
            _xavier_uniform(module, inputs, outputs // 3 if "qkv" in name else outputs)
    if getattr(backbone, "cls_token", None) is not None:
        nn.init.normal_(backbone.cls_token, std=1e-6)
    projection = backbone.patch_embed.proj
    if isinstance(projection, nn.Conv2d):
        _xavier_uniform(projection, projection.weight[0].numel(), projection.out_channels)


def _xavier_uniform(module: nn.Linear | nn.Conv2d, inputs: int, outputs: int) -> None:
    """Uniform in +-sqrt(6 / (inputs + outputs)); zero biases."""
    bound = math.sqrt(6 / (inputs + outputs))
    nn.init.uniform_(module.weight, -bound, bound)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def dino_initialise(backbone: Any) -> None:
    """DINO's published initialisation: a truncated normal of std 0.02 for positions, class token and linear maps.

    Zero biases; the patch projection keeps PyTorch's. A Swin has neither absolute positions nor a class token.
    """
    for token in ("pos_embed", "cls_token"):
        if isinstance(getattr(backbone, token, None), nn.Parameter):
            nn.init.trunc_normal_(getattr(backbone, token), std=0.02)
    truncated_normal(backbone)


def truncated_normal(network: nn.Module) -> None:
    """A truncated normal of std 0.02 and zero biases for every linear map of `network` (timm's and DINO's rule)."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def fix_sincos_positions(backbone: Any) -> None:
    """MoCo v3's position embedding: fixed 2-D sines and cosines (temperature 10,000), zero for the class token.

    Does nothing for an encoder without absolute positions, such as a Swin. Raises UserError if the width is not a
    multiple of 4.
    """
    positions = getattr(backbone, "pos_embed", None)
    if not isinstance(positions, nn.Parameter):
        return
    h, w = backbone.patch_embed.grid_size
    width = positions.shape[-1]
    if width % 4:
        raise UserError(f"positions=sincos needs a width that is a multiple of 4, not {width}; use positions=learned")
    frequencies = 1 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # (C/4,)
    rows, columns = torch.meshgrid(
        torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij"
    )
    angle_w, angle_h = columns.flatten()[:, None] * frequencies, rows.flatten()[:, None] * frequencies  # (N, C/4) each
    table = torch.cat([angle_w.sin(), angle_w.cos(), angle_h.sin(), angle_h.cos()], dim=1)  # (N, C)
    positions.zero_()
    positions[0, -h * w :] = table.to(positions)
    positions.requires_grad_(False)


def freeze_projection(backbone: Any) -> None:
    """MoCo v3's remedy for a ViT's instability: the patch projection stays as it was initialised.

    Only the projection itself: a ResNet below it keeps learning. `build_encoder` leaves a Swin alone.
    """
    backbone.patch_embed.proj.requires_grad_(False)


def he_initialise(network: nn.Module) -> None:
    """He et al. (2015) for every convolution of `network` that a ReLU follows: std sqrt(2 / inputs), zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
