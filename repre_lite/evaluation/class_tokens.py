"""The class tokens of the last blocks: what DINO's linear probe reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..backbone import unwrap
from ..runtime.errors import UserError


def last_class_tokens(backbone: nn.Module, images: Tensor, blocks: int = 4, patches: bool = False) -> Tensor:
    """The class tokens of the last `blocks` blocks, each after the final norm: (B, blocks * C), shallow to deep.

    What DINO's linear probe reads: 4 for a ViT-S, 1 for a ViT-B, with `patches` beside it: C more, the mean over the
    patches of the last block. `images` (B, 3, H, W), normalised. Raises UserError as `check_blocks` does.
    """
    check_blocks(backbone, blocks)
    model: Any = unwrap(backbone)
    pairs = model.forward_intermediates(images, blocks, norm=True, return_prefix_tokens=True, intermediates_only=True)
    return torch.cat([prefix[:, 0] for _, prefix in pairs] + [pairs[-1][0].mean((2, 3))] * patches, dim=1)


def check_blocks(backbone: nn.Module, blocks: int) -> None:
    """Raise UserError if the backbone has no class token, such as a Swin, or fewer blocks than `blocks`."""
    model: Any = unwrap(backbone)
    if getattr(model, "cls_token", None) is None:
        raise UserError(f"{type(model).__name__} has no class token; probe its pooled feature instead, without blocks=")
    depth = len(model.feature_info)
    if not 1 <= blocks <= depth:
        raise UserError(f"blocks={blocks}: choose from 1 to {depth} for an encoder of {depth} blocks")
