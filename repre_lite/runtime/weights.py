"""Weights loaded whole or not at all, and told from others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .errors import UserError


def load_whole(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load `tensors` into `module`. Raises UserError that names missing, unexpected and misshapen keys if not all fit."""
    own = module.state_dict()
    misfits = {
        "missing": [key for key in own if key not in tensors],
        "unexpected": [key for key in tensors if key not in own],
        "of another shape": [key for key in own if key in tensors and own[key].shape != tensors[key].shape],
    }
    found = "; ".join(f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in misfits.items() if keys)
    if found:
        raise UserError(f"{name}: the weights do not fit: {found}; give the weights of this architecture")
    module.load_state_dict(tensors)


def fingerprint(module: nn.Module) -> str:
    """Changes if the weights of `module` do."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _listed(keys: list[str], most: int = 4) -> str:
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
