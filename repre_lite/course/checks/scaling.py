"""Lesson 12: the loss of one process, what too few keys change, a fair comparison."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...losses import info_nce
from ...recipes import Recipe, recipe
from .exercise import Fill, Open, Prediction, Rule, Wrong

TEMPERATURE = 0.2


def _shards() -> list[tuple[Tensor, Tensor, int]]:
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(4, 8, generator=draw), 2 * torch.randn(4 * world, 8, generator=draw), rank)
        for world, rank in ((2, 1), (3, 0), (3, 2))
    ]


def _cosines(q: Tensor, keys: Tensor) -> Tensor:
    return F.normalize(q, dim=1) @ F.normalize(keys, dim=1).T


def _places(q: Tensor, rank: int) -> Tensor:
    return torch.arange(len(q)) + rank * len(q)


def _shard_loss(q: Tensor, keys: Tensor, rank: int) -> Tensor:
    return F.cross_entropy(_cosines(q, keys) / TEMPERATURE, _places(q, rank))


def _by_logarithms(q: Tensor, keys: Tensor, rank: int) -> Tensor:
    scores = _cosines(q, keys) / TEMPERATURE
    positive = scores.gather(1, _places(q, rank)[:, None])[:, 0]
    return (scores.logsumexp(1) - positive).mean()


check_shard_loss = Fill(
    task="`shard_loss(q, keys, rank)`: equation 1 with temperature 0.2 for the (B, D) queries of process `rank` against the "
    "(world * B, D) keys of all processes, in the order of their ranks; mean over queries.",
    solved="shard loss: right for every process, values and gradients",
    cases=_shards,
    right=(
        _shard_loss,
        _by_logarithms,
        lambda q, keys, rank: info_nce(q, keys, TEMPERATURE, offset=rank * len(q)),
    ),
    wrong=(
        Wrong(
            lambda q, keys, rank: _shard_loss(q, keys, 0),
            "the positives of process 0 are at the beginning, those of process r after all keys of the earlier processes: "
            "add rank * len(q) to their places",
        ),
        Wrong(
            lambda q, keys, rank: F.cross_entropy(_cosines(q, keys) / TEMPERATURE, torch.arange(len(q)) + rank),
            "every process before this one has contributed len(q) keys, not one",
        ),
        Wrong(
            lambda q, keys, rank: F.cross_entropy(
                _cosines(q, keys[_places(q, rank)]) / TEMPERATURE, torch.arange(len(q))
            ),
            "only the keys of this process are used, so most negatives are missing: compare with all of them",
        ),
        Wrong(
            lambda q, keys, rank: F.cross_entropy(q @ keys.T / TEMPERATURE, _places(q, rank)),
            "scale queries and keys to length 1 first",
        ),
        Wrong(
            lambda q, keys, rank: F.cross_entropy(_cosines(q, keys), _places(q, rank)),
            "divide the cosines by the temperature, 0.2",
        ),
        Wrong(
            lambda q, keys, rank: F.cross_entropy(_cosines(q, keys) / TEMPERATURE, _places(q, rank), reduction="sum"),
            "that is the sum; take the mean over queries, so that the mean over processes is that of the whole batch",
        ),
        Wrong(
            lambda q, keys, rank: _shard_loss(q, keys, rank) / (len(keys) // len(q)),
            "this is also divided by the number of processes: averaging over them happens once, when gradients are averaged",
        ),
        Wrong(
            lambda q, keys, rank: -(_cosines(q, keys).gather(1, _places(q, rank)[:, None]) / TEMPERATURE).mean(),
            "only positives are pulled together; the softmax over all keys is missing",
        ),
    ),
    otherwise="Unit length, all cosines over 0.2, then the cross-entropy whose right answers are the columns from rank * len(q) "
    "on",
)


def _missing_keys(world: int, each: int) -> float:
    """By how much equation 1 falls, for embeddings that are all alike, if a process has only its own keys."""
    alike = torch.ones(each, 2)
    return float(info_nce(alike, alike.repeat(world, 1), TEMPERATURE) - info_nce(alike, alike, TEMPERATURE))


check_missing_keys = Prediction(
    task="By how much equation 1 is lower, if all embeddings are alike and each of 16 processes compares its 32 queries with "
    "its own 32 keys instead of with all 512: a number.",
    solved="missing keys: right, ln 16. A lower loss, from an easier question; nothing has been learned",
    measure=lambda: _missing_keys(16, 32),
    right=(math.log(16), 2.77, "2.773", math.log(512) - math.log(32)),
    wrong=(
        Wrong(0.0, "the loss at chance is the logarithm of the number of keys, so fewer keys make it smaller"),
        Wrong(2.09, "that is for 8 processes, as at the beginning of the section; here 16 share the batch"),
        Wrong(math.log(512), "that is the loss with all keys; how much lower is it with 32?"),
        Wrong(math.log(32), "that is the loss with 32 keys; how far is it below that with 512?"),
        Wrong(16.0, "the number of keys falls by a factor of 16, but the loss is their logarithm"),
        Wrong(4.0, "that is the logarithm to base 2; cross-entropy uses the natural one"),
        Wrong(1.204, "that is the logarithm to base 10; cross-entropy uses the natural one"),
        Wrong(480.0, "those are the keys that are missing; the loss at chance is the logarithm of how many there are"),
        Wrong(-math.log(16), "the size is right, but the sign is not: give by how much it is lower, a positive number"),
        Wrong(math.log(16) / TEMPERATURE, "the temperature plays no part if all cosines are alike"),
    ),
    otherwise="If nothing is known, each of n keys gets the probability 1 / n, and the loss is ln n. Compare n = 512 with n = 32",
    tolerance=0.02,
)


# -- a fair comparison

Answer = Callable[[], tuple[Recipe, Recipe, Any]]


def _arms(**options: Any) -> tuple[Recipe, Recipe]:
    """Two recipes that differ in `reconstruction` only."""
    base = recipe("scenes", steps=100, **options)
    return dataclasses.replace(base, reconstruction="detached"), dataclasses.replace(base, reconstruction="multi")


def _answer(*answer: Any) -> Callable[[], Any]:
    return lambda: answer


def _changed(name: str, value: Any) -> Callable[[], Any]:
    """A comparison whose second arm differs in one more setting."""
    one, other = _arms()
    return _answer(one, dataclasses.replace(other, **{name: value}), (0, 1, 2))


def _three(answer: Any) -> bool:
    return (
        isinstance(answer, (tuple, list))
        and len(answer) == 3
        and all(isinstance(arm, Recipe) for arm in answer[:2])
        and hasattr(answer[2], "__len__")
    )


def _differences(answer: tuple[Recipe, Recipe, Any]) -> set[str]:
    one, other = (dataclasses.asdict(arm) for arm in answer[:2])
    return {name for name in one if one[name] != other[name]}


check_comparison = Open(
    task="`comparison()`: two recipes, the first without reconstruction that reaches the encoder, the second with it, and the "
    "seeds they are run with: (without, with, seeds).",
    solved="comparison: the arms differ in reconstruction and nothing else, over enough seeds for an interval",
    right=(
        _answer(*_arms(), (0, 1, 2)),
        _answer(*_arms(framework="simclr"), range(5)),
        lambda: [*_arms(), [0, 1, 2]],
        _answer(
            *(
                dataclasses.replace(arm, reconstruction=how)
                for arm, how in zip(_arms(), ("none", "single"), strict=True)
            ),
            [3, 4, 5],
        ),
    ),
    rules=(
        Rule(
            lambda build: _three(build()),
            "return three things: a recipe without reconstruction, one with it, and several seeds, such as (0, 1, 2)",
            (_answer(*_arms()), _answer(*_arms(), 3), lambda: None),
        ),
        Rule(
            lambda build: build()[0].reconstruction in ("none", "detached"),
            "the first arm trains the encoder by reconstruction too: give it 'none', or 'detached' to have an error to compare",
            (_answer(*_arms()[::-1], (0, 1, 2)), _answer(_arms()[1], _arms()[1], (0, 1, 2))),
        ),
        Rule(
            lambda build: build()[1].reconstruction in ("single", "multi"),
            "the second arm has no reconstruction that reaches the encoder: give it 'multi' or 'single'",
            (_answer(_arms()[0], _arms()[0], (0, 1, 2)),),
        ),
        Rule(
            lambda build: _differences(build()) == {"reconstruction"},
            "the arms differ in more than reconstruction, so a difference could come from that: dataclasses.replace changes one "
            "setting and keeps all others",
            (_changed("seed", 1), _changed("steps", 200), _changed("batch_size", 32), _changed("base_lr", 1e-3)),
        ),
        Rule(
            lambda build: len(set(build()[2])) >= 3,
            "fewer than three different seeds: with two the interval is so wide that hardly anything lies outside it, and "
            "with one there is none",
            (_answer(*_arms(), (0,)), _answer(*_arms(), (0, 1)), _answer(*_arms(), (7, 7, 7))),
        ),
    ),
)
