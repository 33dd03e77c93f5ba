"""Lesson 05: the moving average, the queue, and a protection against collapse of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...evaluation import embedding_std
from ...frameworks.queue import Queue
from ...heads import mlp
from ...losses import info_nce
from .exercise import Fill, Open, Prediction, Rule, Wrong, values

check_follow = Fill(
    task="`follow(target, online, coefficient)`: the target after one step of the moving average.",
    solved="moving average: right",
    cases=lambda: [
        (torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 4.0, -1.0]), 0.9),
        (torch.tensor([[2.0, 1.0]]), torch.tensor([[-1.0, 5.0]]), 0.99),
    ],
    watch=values,
    right=(
        lambda target, online, coefficient: coefficient * target + (1 - coefficient) * online,
        lambda target, online, coefficient: online.lerp(target, coefficient),
        lambda target, online, coefficient: target.mul_(coefficient).add_(online, alpha=1 - coefficient),
        lambda target, online, coefficient: target.double() + (1 - coefficient) * (online.double() - target.double()),
    ),
    wrong=(
        Wrong(
            lambda target, online, coefficient: (1 - coefficient) * target + coefficient * online,
            "the target should move slowly: `coefficient` is the share of itself that it keeps",
        ),
        Wrong(
            lambda target, online, coefficient: online,
            "the target jumps to the online weights at once, as with a coefficient of 0; it should keep most of its own",
        ),
        Wrong(
            lambda target, online, coefficient: target,
            "the target does not move: does the result of the average get lost?",
        ),
        Wrong(
            lambda target, online, coefficient: (target + online) / 2,
            "that is a plain mean of two; `coefficient` says how much of the target is kept",
        ),
        Wrong(
            lambda target, online, coefficient: (1 - coefficient) * online,
            "the target's own part is missing: it would forget everything but the last step",
        ),
        Wrong(
            lambda target, online, coefficient: target + (1 - coefficient) * online,
            "the shares sum to more than 1, so the weights would grow step by step: shrink the old part too",
        ),
        Wrong(
            lambda target, online, coefficient: coefficient * target + online,
            "the shares sum to more than 1: the online weights enter with what is left, 1 - coefficient",
        ),
    ),
    otherwise="An average of two: the shares are `coefficient` for the target and the rest for the online weights",
)


# -- the queue


def _pushed(function: Callable[[Tensor, int, Tensor], Any], sizes: tuple[int, ...]) -> tuple[Any, list[Tensor]]:
    """Push batches of numbered keys into five rows: the next row, and the queue, after each."""
    queue, place, done = torch.zeros(5, 1), 0, 0
    places: list[int] = []
    queues: list[Tensor] = []
    for size in sizes:
        place = function(queue, place, torch.arange(done + 1.0, done + size + 1.0)[:, None])
        if place is None:
            return None, []
        place, done = int(place), done + size
        places.append(place)
        queues.append(queue.clone())
    return places, queues


def _push(queue: Tensor, place: int, keys: Tensor) -> int:
    queue[(place + torch.arange(len(keys))) % len(queue)] = keys
    return (place + len(keys)) % len(queue)


def _push_one_by_one(queue: Tensor, place: int, keys: Tensor) -> int:
    for key in keys:
        queue[place] = key
        place = (place + 1) % len(queue)
    return place


def _push_in_two_parts(queue: Tensor, place: int, keys: Tensor) -> int:
    room = min(len(queue) - place, len(keys))
    queue[place : place + room] = keys[:room]
    queue[: len(keys) - room] = keys[room:]
    return (place + len(keys)) % len(queue)


def _push_without_wrap(queue: Tensor, place: int, keys: Tensor) -> int:
    room = keys[: len(queue) - place]
    queue[place : place + len(room)] = room
    return (place + len(keys)) % len(queue)


def _push_slice(queue: Tensor, place: int, keys: Tensor) -> int:
    queue[place : place + len(keys)] = keys
    return (place + len(keys)) % len(queue)


def _push_from_the_top(queue: Tensor, place: int, keys: Tensor) -> int:
    if place + len(keys) > len(queue):
        place = 0
    return _push(queue, place, keys)


check_push = Fill(
    task="`push(queue, place, keys)`: writes `keys` into `queue` from row `place` on, wraps around, returns the next row.",
    solved="queue: right order, also after wrapping around",
    cases=lambda: [((3,),), ((3, 3, 3),), ((2, 3, 4),)],
    watch=_pushed,
    right=(_push, _push_one_by_one, _push_in_two_parts),
    wrong=(
        Wrong(
            _push_without_wrap,
            "keys that do not fit before the end are lost: they belong in the first rows, so take row numbers modulo "
            "the length",
        ),
        Wrong(
            _push_slice,
            "a slice ends at the last row: the keys that do not fit belong in the first rows, so take row numbers "
            "modulo the length",
        ),
        Wrong(
            _push_from_the_top,
            "if the keys do not fit, fill the last rows first and wrap around in the middle of a batch; otherwise the "
            "oldest keys are not the ones overwritten",
        ),
        Wrong(
            lambda queue, place, keys: _push(queue, place, keys) and place,
            "the next row is not the row where this batch began: advance by the number of keys",
        ),
        Wrong(
            lambda queue, place, keys: _push(queue, 0, keys),
            "every batch begins at row 0 and overwrites the newest keys: begin at `place`",
        ),
        Wrong(
            lambda queue, place, keys: place + len(keys) + 0 * _push(queue, place, keys),
            "the next row may be past the end: a queue of 5 rows begins again at 0, so take it modulo the length",
        ),
        Wrong(
            lambda queue, place, keys: _push(queue, place, keys.flip(0)),
            "the keys of a batch are in reverse order: the first of them is the oldest",
        ),
        Wrong(
            lambda queue, place, keys: _push(queue.clone(), place, keys),
            "the queue itself does not change: assign into it, queue[rows] = keys, since a new tensor is lost",
        ),
        Wrong(
            lambda queue, place, keys: (_push(queue, place, keys) + 1) % len(queue),
            "one row too far: the next key goes right after the last one written",
        ),
    ),
    otherwise="Key i goes to row place + i, modulo the number of rows; return the row after the last one written",
)


def _left() -> int:
    """How many keys of the third of five batches of 4 are still in a queue of 10 rows."""
    queue = Queue(length=10, width=2)
    for batch in range(5):
        queue.push(torch.full((4, 2), float(batch)))
    return int((queue.keys[:, 0] == 2).sum())


check_left_in_queue = Prediction(
    task="A queue of 10 rows, five batches of 4 keys: how many keys of the third batch are still in it: a number.",
    solved="left in queue: right. Twenty keys were pushed, and the last ten are two batches and a half",
    measure=_left,
    right=(2, 2.0, "2", torch.tensor(2)),
    wrong=(
        Wrong(4, "that holds if 12 keys fit: with 10 rows the oldest keys of the third batch are overwritten"),
        Wrong(0, "the last two batches fill 8 of 10 rows; whose keys are in the other two?"),
        Wrong(10, "10 is the number of rows; how many of them hold the third batch?"),
        Wrong(8, "8 are the keys of the last two batches; count the third's"),
        Wrong(
            1, "keys are overwritten one by one, the oldest first: number the keys from 1 to 20 and keep the last ten"
        ),
        Wrong(3, "number the keys from 1 to 20, keep the last ten, and count those from 9 to 12"),
    ),
    otherwise="Number the keys from 1 to 20. A queue of 10 rows holds the last ten; the third batch is 9 to 12",
    tolerance=0.0,
)


# -- a protection of one's own, tried on a small network


def _agree(a: Tensor, b: Tensor) -> Tensor:
    return -F.cosine_similarity(a, b, dim=1).mean()


def _variance(z: Tensor) -> Tensor:
    return (1 - (z.var(0) + 1e-4).sqrt()).clamp(min=0).mean()


def _view(images: Tensor) -> Tensor:
    """An image's eight numbers, beside eight that differ in every view."""
    return torch.cat([images, 3 * torch.randn_like(images)], dim=1)  # (B, 16)


def _trained(loss: Callable[[Tensor, Tensor, nn.Module], Tensor], steps: int = 60) -> tuple[float, float]:
    """Train a small network by `loss(z1, z2, predictor)`: the embedding's spread, and how much pairs agree beyond chance."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, predictor = mlp(16, 32, 8, layers=2), mlp(8, 16, 8, layers=2)
        images = torch.randn(64, 8) + 2
        optimiser = torch.optim.Adam([*network.parameters(), *predictor.parameters()], lr=1e-2)
        for _ in range(steps):
            z1, z2 = (network(_view(images)) for _ in range(2))
            optimiser.zero_grad()
            loss(z1, z2, predictor).backward()
            optimiser.step()
        with torch.no_grad():
            z1, z2 = (network(_view(images)) for _ in range(2))
    agreement = F.cosine_similarity(z1, z2).mean() - F.cosine_similarity(z1, z2.roll(1, 0)).mean()
    return float(embedding_std(z1)), float(agreement)


def _slope(loss: Callable[[Tensor, Tensor, nn.Module], Tensor]) -> Tensor:
    """The gradient with respect to both embeddings, (2, B, D); zero if there is none."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(2, 16, 8, generator=draw).requires_grad_()
    value = loss(z[0], z[1], mlp(8, 16, 8, layers=2))
    found = None
    if isinstance(value, Tensor) and not value.dim() and value.requires_grad:
        found = torch.autograd.grad(value, z, allow_unused=True)[0]
    return torch.zeros(2, 16, 8) if found is None else found


def _pushed_apart(z1: Tensor, z2: Tensor, predictor: nn.Module) -> Tensor:
    """Distances between all points, with a root that has no slope at a point's distance from itself."""
    return _agree(z1, z2) - (z1[:, None] - z1[None]).square().sum(2).sqrt().mean()


check_protection = Open(
    task="`loss(z1, z2, predictor)`, both (B, D): a scalar that trains a small network without collapse.",
    solved="protection: after 60 steps the pairs agree, and the embedding is still spread out",
    right=(
        lambda z1, z2, predictor: (_agree(predictor(z1), z2.detach()) + _agree(predictor(z2), z1.detach())) / 2,
        lambda z1, z2, predictor: info_nce(z1, z2, 0.2),
        lambda z1, z2, predictor: F.mse_loss(z1, z2) + _variance(z1) + _variance(z2),
        lambda z1, z2, predictor: _agree(z1 - z1.mean(0), z2 - z2.mean(0)),
    ),
    rules=(
        Rule(
            lambda loss: bool((_slope(loss) != 0).any()),
            "return one number as a tensor, with a gradient to the embeddings",
            (
                lambda z1, z2, predictor: None,
                lambda z1, z2, predictor: _agree(z1.detach(), z2.detach()),
                lambda z1, z2, predictor: -F.cosine_similarity(z1, z2),
            ),
        ),
        Rule(
            lambda loss: not bool(_slope(loss).isnan().any()) and not math.isnan(_trained(loss)[0]),
            "the weights become nan: a root of 0 has no slope and a logarithm of 0 no value; add a small number before "
            "you take it",
            (_pushed_apart,),
        ),
        Rule(
            lambda loss: _trained(loss)[0] > 0.4,
            "after 60 steps all embeddings point the same way: nothing in this loss keeps different images apart",
            (
                lambda z1, z2, predictor: _agree(z1, z2),
                lambda z1, z2, predictor: (_agree(z1, z2.detach()) + _agree(z2, z1.detach())) / 2,
                lambda z1, z2, predictor: (_agree(predictor(z1), z2) + _agree(predictor(z2), z1)) / 2,
            ),
        ),
        Rule(
            lambda loss: _trained(loss)[1] > 0.4,
            "the embedding is spread out, but the two views of an image agree no more than two images do: something has "
            "to pull pairs together",
            (
                lambda z1, z2, predictor: _variance(z1) + _variance(z2) - _agree(z1, z2),
                lambda z1, z2, predictor: F.cosine_similarity(z1, z2).square().mean(),
            ),
        ),
    ),
)
