"""What an exercise and a comparison ask: do two answers agree?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def compare(name: str, mine: Tensor, reference: Tensor, tolerance: float = 1e-5) -> None:
    """Print whether two tensors agree in shape and value. Returns nothing, so it can be the last line of a cell."""
    mine, reference = torch.as_tensor(mine), torch.as_tensor(reference)
    if mine.shape != reference.shape:
        print(f"{name}: shape {tuple(mine.shape)}, expected {tuple(reference.shape)}")
        return
    gap = float((mine.detach().double() - reference.detach().double()).abs().max())
    verdict = f"max diff < {tolerance:g}" if gap < tolerance else f"max diff {gap:.3g}, expected below {tolerance:g}"
    print(f"{name}: shapes ok, {verdict}")


def same(a: Any, b: Any) -> bool:
    """Whether two results agree: tensors in shape and to four digits, in any number format; errors in what they say."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        a, b = a.detach().double(), b.detach().double()
        return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return False
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b) and str(a) == str(b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
