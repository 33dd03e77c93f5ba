"""What the lessons' exercises call: each compares the reader's function with what it should do and prints one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def compare(name: str, mine: Tensor, reference: Tensor, tolerance: float = 1e-5) -> bool:
    """Print whether two tensors agree in shape and value, and return it."""
    if mine.shape != reference.shape:
        print(f"{name}: shape {tuple(mine.shape)}, expected {tuple(reference.shape)}")
        return False
    gap = float((mine.detach().double() - reference.detach().double()).abs().max())
    verdict = f"max diff < {tolerance:g}" if gap < tolerance else f"max diff {gap:.3g}, expected below {tolerance:g}"
    print(f"{name}: shapes ok, {verdict}")
    return gap < tolerance


def check_tap_indices(function: Callable[[int, int], Sequence[int]]) -> None:
    """`function(depth, taps)` -> which blocks, counted from 0, for depths that the number of taps divides."""
    for depth, taps in ((12, 4), (8, 4), (12, 3), (24, 4)):
        expected = [i * (depth // taps) - 1 for i in range(1, taps + 1)]
        got = list(function(depth, taps))
        if got != expected:
            hint = (
                "count blocks from 0" if got == [i + 1 for i in expected] else "every L/K-th block, ending at the last"
            )
            raise AssertionError(f"{taps} taps of {depth} blocks: {got}, expected {expected} ({hint})")
    print("tap indices: right for 4 encoders")


def check_fusion_block(function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """`function(deep, shallow, weight, bias)`: concatenate, 3x3 convolution with padding 1, ReLU."""
    deep, shallow = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    weight, bias = torch.randn(3, 6, 3, 3), torch.randn(3)
    expected = torch.conv2d(torch.cat([deep, shallow], 1), weight, bias, padding=1).relu()
    swapped = torch.conv2d(torch.cat([shallow, deep], 1), weight, bias, padding=1).relu()
    got = function(deep, shallow, weight, bias)
    if got.shape == expected.shape and torch.allclose(got, swapped, atol=1e-5):
        raise AssertionError("the deep map comes first in the concatenation")
    if got.shape == expected.shape and got.min() < 0:
        raise AssertionError("there are negative values: is the ReLU missing?")
    if not compare("fusion block", got, expected, 1e-4):
        raise AssertionError("not the same map yet")


def check_uncertainty_total(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`function(losses, s)`: half of the sum over both of exp(-s) L + s."""
    for _ in range(3):
        losses, s = torch.rand(2) * 3, torch.randn(2)
        expected = ((-s).exp() * losses + s).sum() / 2
        got = function(losses, s)
        if torch.isclose(got, ((-s).exp() * losses).sum() / 2):
            raise AssertionError("the + s is missing: without it the weights fall to zero")
        if not torch.isclose(got, expected, atol=1e-5):
            raise AssertionError(f"got {float(got):.4f}, expected {float(expected):.4f}")
    print("uncertainty total: right for 3 random cases")


def check_follow(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """`function(target, online, coefficient)`: the moving average's new target."""
    target, online = torch.zeros(3), torch.ones(3)
    if torch.allclose(function(target, online, 0.9), torch.full((3,), 0.9)):
        raise AssertionError("the target should move slowly: it keeps `coefficient` of itself")
    if not torch.allclose(function(target, online, 0.9), torch.full((3,), 0.1)):
        raise AssertionError("expected coefficient * target + (1 - coefficient) * online")
    print("moving average: right")
