"""Weights loaded whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping

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


def _listed(keys: list[str], most: int = 4) -> str:
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
