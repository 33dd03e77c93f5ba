"""Random numbers that depend on what they are for and never on what ran before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

MASK = 0xFFFFFFFF


def _mix(x: Any) -> Any:
    """A 32-bit xor-multiply finaliser, a bijection, on int or int64 tensor: no product leaves 63 bits, so none overflows."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & MASK
    x = (x ^ (x >> 15)) * 0x68E31DA5 & MASK
    return x ^ (x >> 16)


def uniform(
    seed: int, step: int | Tensor, rows: Tensor, purpose: int | Tensor, count: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """`count` numbers in [0, 1) for each of `rows`, int64 (B,) -> (B, count); equal bits on every device.

    A counter-based hash of (seed, step, row, purpose, column): rows are rows of the global batch, so a batch split over
    processes gets the numbers it would have had whole. 24 bits each. `step` and `purpose` are numbers, or tensors () on the
    device of `rows` where a compiled graph should serve them all.
    """
    key: int | Tensor = 0
    for part in (seed & MASK, seed >> 32 & MASK, step, purpose):
        key = _mix((key + part + 0x9E3779B9) & MASK)
    x = _mix((rows & MASK ^ key) + 0x85EBCA6B & MASK)  # (B,)
    columns = torch.arange(count, device=rows.device, dtype=torch.int64)  # (count,)
    x = _mix(x[:, None] + _mix(columns * 0x9E3779B1 + 0x27D4EB2F & MASK) & MASK)  # (B, count)
    return (_mix(x ^ key) >> 8).to(dtype) * 2.0**-24


def generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator of its own for (seed, name): "encoder", "heads", "decoder", "order/3", ..."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@contextmanager
def fork(seed: int, name: str) -> Iterator[None]:
    """Inside, torch's default CPU generator is the stream (seed, name); afterwards it is what it was before.

    Generators of other devices are left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, name).initial_seed())
        yield
