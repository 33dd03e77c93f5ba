"""Random numbers that depend on their purpose and never on what ran before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

MASK = 0xFFFFFFFF


def _mix(x: Any) -> Any:
    """A 32-bit xor-multiply finaliser, a bijection, of an int or int64 tensor; products stay below 63 bits."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & MASK
    x = (x ^ (x >> 15)) * 0x68E31DA5 & MASK
    return x ^ (x >> 16)


def uniform(
    seed: int, step: int | Tensor, rows: Tensor, purpose: int | Tensor, count: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """`count` numbers in [0, 1) for each of `rows`, int64 (B,) -> (B, count); bit-equal on every device.

    A counter-based hash of (seed, step, row, purpose, column) with 24 bits for each number. Rows count in the global
    batch, so that a batch split over processes gets the same numbers. `step` and `purpose` are ints, or tensors () on the
    device of `rows` for a compiled graph that serves all values.
    """
    key: int | Tensor = 0
    for part in (seed & MASK, seed >> 32 & MASK, step, purpose):
        key = _mix((key + part + 0x9E3779B9) & MASK)
    x = _mix((rows & MASK ^ key) + 0x85EBCA6B & MASK)  # (B,)
    columns = torch.arange(count, device=rows.device, dtype=torch.int64)  # (count,)
    x = _mix(x[:, None] + _mix(columns * 0x9E3779B1 + 0x27D4EB2F & MASK) & MASK)  # (B, count)
    uniform: Tensor = (_mix(x ^ key) >> 8).to(dtype) * 2.0**-24
    return uniform


def generator(seed: int, name: str) -> torch.Generator:
    """The CPU generator of the stream (seed, name), such as "encoder", "heads", "decoder" or "order/3"."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@contextmanager
def fork(seed: int, name: str, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's default CPU generator is the stream (seed, name); afterwards its state is restored.

    So is that of `device`, if it is a CUDA GPU; that of an Apple GPU is set and left. Other generators are not touched.
    """
    kind = "cpu" if device is None else device.type
    number = generator(seed, name).initial_seed()
    held = [device] if kind == "cuda" and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=held):
        torch.default_generator.manual_seed(number)
        if kind == "cuda":
            torch.cuda.manual_seed(number)
        if kind == "mps":
            torch.mps.manual_seed(number)
        yield
