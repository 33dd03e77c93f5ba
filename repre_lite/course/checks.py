"""The checks of the exercises: each compares the reader's function with a reference and prints one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor


def compare(name: str, mine: Tensor, reference: Tensor, tolerance: float = 1e-5) -> None:
    """Print whether two tensors agree in shape and value. Returns nothing, so it can be the last line of a cell."""
    _agree(name, mine, reference, tolerance)


def _agree(name: str, mine: Tensor, reference: Tensor, tolerance: float) -> bool:
    """`compare`; returns whether the tensors agree."""
    mine, reference = torch.as_tensor(mine), torch.as_tensor(reference)
    if mine.shape != reference.shape:
        print(f"{name}: shape {tuple(mine.shape)}, expected {tuple(reference.shape)}")
        return False
    gap = float((mine.detach().double() - reference.detach().double()).abs().max())
    verdict = f"max diff < {tolerance:g}" if gap < tolerance else f"max diff {gap:.3g}, expected below {tolerance:g}"
    print(f"{name}: shapes ok, {verdict}")
    return gap < tolerance


def _answer(got: object, expected: Tensor) -> Tensor:
    """`got`, if it is a tensor of the expected shape. Raises AssertionError if not."""
    if not isinstance(got, Tensor):
        raise AssertionError(f"expected a tensor of shape {tuple(expected.shape)}, got {type(got).__name__}")
    if got.shape != expected.shape:
        raise AssertionError(f"expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    return got.to(expected.dtype)


def check_tap_indices(function: Callable[[int, int], Sequence[int]]) -> None:
    """`function(depth, taps)` -> block numbers, counted from 0; tested if `taps` divides `depth`."""
    for depth, taps in ((12, 4), (8, 4), (12, 3), (24, 4)):
        expected = [i * (depth // taps) - 1 for i in range(1, taps + 1)]
        answer = function(depth, taps)
        if answer is None:
            raise AssertionError("expected a list of block numbers, got None: is the return statement missing?")
        if not isinstance(answer, Iterable):
            raise AssertionError(f"expected a list of block numbers, got {type(answer).__name__}")
        got = [int(block) for block in answer]
        if got != expected:
            hint = (
                "count blocks from 0" if got == [i + 1 for i in expected] else "every L/K-th block, ending at the last"
            )
            raise AssertionError(f"{taps} taps of {depth} blocks: {got}, expected {expected} ({hint})")
    print("tap indices: right for 4 encoders")


def check_fusion_block(function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """`function(deep, shallow, weight, bias)`: concatenate, 3x3 convolution with padding 1, ReLU.

    Maps are (B, C, h, w), `weight` (C, 2C, 3, 3), `bias` (C,).
    """
    draw = torch.Generator().manual_seed(0)
    deep, shallow = torch.randn(2, 3, 4, 4, generator=draw), torch.randn(2, 3, 4, 4, generator=draw)
    weight, bias = torch.randn(3, 6, 3, 3, generator=draw), torch.randn(3, generator=draw)
    expected = torch.conv2d(torch.cat([deep, shallow], 1), weight, bias, padding=1).relu()
    swapped = torch.conv2d(torch.cat([shallow, deep], 1), weight, bias, padding=1).relu()
    got = _answer(function(deep, shallow, weight, bias), expected)
    if torch.allclose(got, swapped, atol=1e-4):
        raise AssertionError("the deep map comes first in the concatenation")
    if got.min() < 0:
        raise AssertionError("there are negative values: is the ReLU missing?")
    if not _agree("fusion block", got, expected, 1e-4):
        raise AssertionError("not the same values yet")


def check_uncertainty_total(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`function(losses, s)`: half of the sum of exp(-s) L + s over both losses, each (2,), with its gradient."""
    for losses, s in ((torch.tensor([2.0, 0.1]), torch.tensor([0.5, -1.5])), (torch.tensor([0.4, 3.0]), torch.ones(2))):
        losses.requires_grad_()
        s.requires_grad_()
        expected = ((-s).exp() * losses + s).sum() / 2
        got = _answer(function(losses, s), expected)
        if torch.isclose(got, ((-s).exp() * losses).sum() / 2):
            raise AssertionError("the + s is missing: without it the weights go to zero")
        if not torch.isclose(got, expected, atol=1e-5):
            raise AssertionError(f"got {float(got.detach()):.4f}, expected {float(expected.detach()):.4f}")
        for name, leaf in (("losses", losses), ("s", s)):
            gradient = (
                torch.autograd.grad(got, leaf, retain_graph=True, allow_unused=True)[0] if got.requires_grad else None
            )
            if gradient is None or not torch.allclose(
                gradient, torch.autograd.grad(expected, leaf, retain_graph=True)[0]
            ):
                raise AssertionError(
                    f"the value is right, but its gradient does not reach {name}: is something detached?"
                )
    print("uncertainty total: right for 2 cases")


def check_follow(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """`function(target, online, coefficient)`: the target after one step of the moving average."""
    target, online = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 4.0, -1.0])
    expected = 0.9 * target + 0.1 * online
    got = _answer(function(target.clone(), online.clone(), 0.9), expected)
    if torch.allclose(got, 0.1 * target + 0.9 * online):
        raise AssertionError("the target should move slowly: `coefficient` is the share of itself that it keeps")
    if not torch.allclose(got, expected):
        raise AssertionError("expected coefficient * target + (1 - coefficient) * online")
    print("moving average: right")


def check_info_nce(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """`function(q, k, temperature)`: equation 1 with positives on the diagonal, mean over queries; q and k are (B, D)."""
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(5, 8, generator=draw), 3 * torch.randn(5, 8, generator=draw)
    unit_q, unit_k, places = (*(torch.nn.functional.normalize(x) for x in (q, k)), torch.arange(5))
    cross_entropy = torch.nn.functional.cross_entropy
    expected = cross_entropy(unit_q @ unit_k.T / 0.2, places)
    got = _answer(function(q, k, 0.2), expected)
    if torch.isclose(got, expected, rtol=1e-4):
        print("InfoNCE: right for 5 random queries")
        return
    if torch.isclose(got, cross_entropy(q @ k.T / 0.2, places), rtol=1e-4):
        raise AssertionError("scale queries and keys to length 1 first")
    if torch.isclose(got, cross_entropy(unit_q @ unit_k.T, places), rtol=1e-4):
        raise AssertionError("divide the cosines by the temperature")
    raise AssertionError(f"got {float(got):.4f}, expected {float(expected):.4f}")


def check_push(function: Callable[[Tensor, int, Tensor], int]) -> None:
    """`function(queue, place, keys)`: writes `keys` into `queue` from row `place` on, wraps around, returns the next row."""
    queue, place = torch.zeros(5, 1), 0
    pushed = torch.arange(1.0, 10.0)[:, None]
    for start, size in ((0, 3), (3, 3), (6, 3)):
        place = function(queue, place, pushed[start : start + size])
        if not isinstance(place, int):
            raise AssertionError(f"expected the number of the next row as an int, got {type(place).__name__}")
        if not 0 <= place < len(queue):
            raise AssertionError(f"the next row is {place}, but a queue of {len(queue)} rows begins again at 0")
        newest = [float(queue[(place - 1 - i) % 5, 0]) for i in range(min(5, start + size))]
        expected = [float(start + size - i) for i in range(min(5, start + size))]
        if newest != expected:
            raise AssertionError(
                f"after {start + size} keys the newest, newest first, should be {expected}; got {newest}"
            )
    print("queue: right order, also after wrapping around")


def check_train_step(function: Callable[..., object]) -> None:
    """`function(model, optimiser, views, step, total_steps)`: one step in the right order, each with its own gradient."""
    done: list[str] = []
    weight = torch.ones((), requires_grad=True)
    weight.register_hook(lambda _: done.append("backward"))

    def forward(*views: Sequence[Tensor]) -> SimpleNamespace:
        if len(views) != 1 or isinstance(views[0], Tensor):
            raise AssertionError("call the model with the list of views: model(views)")
        done.append("forward")
        return SimpleNamespace(total=weight * views[0][0].mean())

    def zero_grad(set_to_none: bool = True) -> None:
        if weight.grad is not None and done[-1:] == ["backward"]:
            raise AssertionError(f"{done}: zero_grad after backward throws away the gradients that the optimiser needs")
        weight.grad = None if set_to_none or weight.grad is None else torch.zeros_like(weight.grad)

    def optimiser_step() -> None:
        done.append("optimiser")
        if weight.grad is not None and float(weight.grad) > value:
            raise AssertionError(
                f"{done}: backward adds to the gradients of the last step, so call zero_grad before it"
            )

    def update_target(step: int, total_steps: int) -> None:
        done.append("target" if (step, total_steps) == (number, 10) else f"target of step {step} in {total_steps}")

    class Model(SimpleNamespace):
        __call__ = staticmethod(forward)

    model = Model(framework=SimpleNamespace(update_target=update_target))
    optimiser = SimpleNamespace(zero_grad=zero_grad, step=optimiser_step)
    for number, value in ((3, 1.0), (4, 2.0)):
        done.clear()
        function(model, optimiser, [torch.full((2,), value), torch.zeros(2)], number, 10)
        if done != ["forward", "backward", "optimiser", "target"]:
            raise AssertionError(f"{done}, expected ['forward', 'backward', 'optimiser', 'target']")
    print("train step: right order")


def check_rollout(function: Callable[[Tensor], Tensor]) -> None:
    """`function(attention)`: (L, T, T), rows that sum to 1 -> (T, T), the share of each input token in each
    output token; half of each block is its residual connection."""
    draw = torch.Generator().manual_seed(0)
    attention = torch.rand(3, 4, 4, generator=draw).softmax(-1)  # (L, T, T)
    one, two, three = (attention + torch.eye(4)) / 2
    bare = attention[2] @ attention[1] @ attention[0]
    expected = three @ two @ one
    got = _answer(function(attention.clone()), expected)
    if torch.allclose(got, bare, atol=1e-5):
        raise AssertionError("add the identity to each block's attention: a block adds its output to its input")
    if torch.allclose(got, 8 * expected, atol=1e-4):
        raise AssertionError("after the identity is added, rows should sum to 1 again: halve them")
    if torch.allclose(got, one @ two @ three, atol=1e-5):
        raise AssertionError("the last block is applied last, so it stands on the left of the product")
    if not torch.allclose(got, expected, atol=1e-5):
        raise AssertionError("expected the product of (attention + identity) / 2, last block on the left")
    print("rollout: right for 3 blocks")
