"""Lesson 10: the half width of an interval, three gains in a row, an ablation of one's own."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from ...recipes import Recipe, recipe
from .exercise import Fill, Open, Prediction, Rule, Wrong, values

T = {2: 4.302653, 7: 2.364624}  # degrees of freedom -> Student's t, two-sided 95 %


def _differences() -> list[tuple[Tensor, float]]:
    few = torch.tensor([1.0, 2.5, 3.0])
    more = torch.tensor([0.2, -0.4, 1.1, 0.7, 0.3, -0.1, 0.9, 0.5])
    return [(few, T[2]), (more, T[7])]


def _by_hand(differences: Tensor, t: float) -> Tensor:
    count, mean = len(differences), sum(differences.tolist()) / len(differences)
    squares = sum((value - mean) ** 2 for value in differences.tolist())
    return torch.tensor(t * (squares / (count - 1)) ** 0.5 / count**0.5)


check_half_width = Fill(
    task="`half_width(differences, t)`: paired differences (n,) and Student's t for n - 1 degrees of freedom -> half the "
    "width of the 95 % interval of their mean, a scalar.",
    solved="half width: right for 3 and for 8 pairs",
    cases=_differences,
    watch=values,
    right=(
        lambda differences, t: t * differences.std() / len(differences) ** 0.5,
        _by_hand,
        lambda differences, t: t * statistics.stdev(differences.tolist()) / len(differences) ** 0.5,
        lambda differences, t: t * differences.numpy().std(ddof=1) / len(differences) ** 0.5,
    ),
    wrong=(
        Wrong(
            lambda differences, t: t * differences.std(),
            "that is the spread of single pairs; a mean of n pairs varies less, by the square root of n",
        ),
        Wrong(
            lambda differences, t: differences.std() / len(differences) ** 0.5,
            "that is the standard error; it becomes an interval when multiplied by t",
        ),
        Wrong(
            lambda differences, t: 1.96 * differences.std() / len(differences) ** 0.5,
            "1.96 holds if the spread is known; it is estimated from few pairs, so use the larger t",
        ),
        Wrong(
            lambda differences, t: t * differences.std(unbiased=False) / len(differences) ** 0.5,
            "the standard deviation divides by n here; the mean was estimated too, so divide by n - 1",
        ),
        Wrong(
            lambda differences, t: t * differences.std() / len(differences),
            "divide by the square root of the number of pairs, not by the number",
        ),
        Wrong(
            lambda differences, t: t * differences.var() / len(differences) ** 0.5,
            "that is the variance; take its square root, the standard deviation",
        ),
        Wrong(
            lambda differences, t: 2 * t * differences.std() / len(differences) ** 0.5,
            "that is the whole width of the interval; give half of it",
        ),
        Wrong(
            lambda differences, t: (differences.max() - differences.min()) / 2,
            "the range uses only two of the pairs, and grows with their number; use the standard deviation",
        ),
    ),
    otherwise="t times the standard deviation of the differences, over the square root of their number",
)


def _three() -> float:
    return T[2] * statistics.stdev((1, 2, 3)) / 3**0.5


check_three_gains = Prediction(
    task="Three seeds gain 1, 2 and 3 points. Half the width of the 95 % interval of the mean gain, in points: a number.",
    solved="three gains: right. All three seeds gain, and the interval, 2 plus or minus 2.5, still contains zero",
    measure=_three,
    right=(2.484, 2.48, torch.tensor(2.484), 4.303 / 3**0.5),
    wrong=(
        Wrong(
            1, "that is the standard deviation of single seeds; two factors are missing, t and the root of their number"
        ),
        Wrong(3**-0.5, "that is the standard error, 0.58; multiply it by t, which is large for so few seeds"),
        Wrong(1.96 * 3**-0.5, "1.96 is t for very many seeds; with three, and two degrees of freedom, it is 4.30"),
        Wrong(4.303, "that is t, or t times the spread of one seed; a mean of three varies less"),
        Wrong(3.182 * 3**-0.5, "that is t for three degrees of freedom; three seeds leave two, one went into the mean"),
        Wrong(2 * _three(), "that is the whole width; give half of it"),
        Wrong(2, "that is the mean gain; how precisely is it known?"),
    ),
    otherwise="t for two degrees of freedom is 4.303, the standard deviation of 1, 2 and 3 is 1: t times 1 over the root of 3",
)


# -- an ablation of one's own

Design = Callable[[], Sequence[Recipe]]
HOW = ("seed", "device", "workers", "checkpoint_every", "snapshots", "compile", "data")


def _settings(one: Recipe) -> tuple[tuple[str, str], ...]:
    """What a recipe computes, its seed aside, in a form that can be compared."""
    return tuple((name, repr(value)) for name, value in asdict(one).items() if name not in HOW)


def _arms(recipes: Sequence[Recipe]) -> dict[Any, list[int]]:
    """The seeds of each arm."""
    held: dict[Any, list[int]] = {}
    for one in recipes:
        held.setdefault(_settings(one), []).append(one.seed)
    return held


def _differing(recipes: Sequence[Recipe]) -> set[str]:
    """The settings in which any two arms differ."""
    arms = [dict(arm) for arm in _arms(recipes)]
    return {name for name in arms[0] if len({arm[name] for arm in arms}) > 1}


def _grid(seeds: Sequence[int] = range(3), **arms: Sequence[Any]) -> list[Recipe]:
    """Every value of every setting in `arms`, each under all `seeds`."""
    base = recipe("scenes", "moco_v3", steps=100, batch_size=32)
    return [
        replace(base, seed=seed, **{name: value})
        for name, several in arms.items()
        for value in several
        for seed in seeds
    ]


check_own_ablation = Open(
    task="`design()`: a list of recipes, two arms or more that differ in one setting, each arm under the same three seeds or "
    "more.",
    solved="own ablation: one setting, the same seeds in every arm, enough of them for an interval",
    right=(
        lambda: _grid(reconstruction=("detached", "multi")),
        lambda: _grid(seeds=range(8), hide=(0.0, 0.5, 0.75)),
        lambda: _grid(seeds=(3, 5, 7, 11), fusion_layers=(1, 2, 4))[::-1],
    ),
    rules=(
        Rule(
            lambda design: bool(found := design()) and all(isinstance(one, Recipe) for one in found),
            "return a list of recipes, as rl.recipe makes them",
            (lambda: None, lambda: ["multi", "detached"], list),
        ),
        Rule(
            lambda design: len(_arms(design())) >= 2,
            "there is only one arm: give at least two to compare",
            (lambda: _grid(reconstruction=("multi",)),),
        ),
        Rule(
            lambda design: len(_differing(design())) == 1,
            "the arms differ in more than one setting, so a difference could come from either: change one",
            (
                lambda: [
                    replace(one, steps=200) if one.reconstruction == "multi" else one
                    for one in _grid(reconstruction=("detached", "multi"))
                ],
                lambda: _grid(hide=(0.0, 0.5), fusion_layers=(4,)),
            ),
        ),
        Rule(
            lambda design: len({tuple(sorted(seeds)) for seeds in _arms(design()).values()}) == 1,
            "the arms have different seeds, so their runs are not paired: give every arm the same seeds",
            (
                lambda: _grid(range(3), hide=(0.0,)) + _grid(range(3, 6), hide=(0.5,)),
                lambda: _grid(range(3), hide=(0.0, 0.5))[:-1],
            ),
        ),
        Rule(
            lambda design: (
                max(Counter(seed for seeds in _arms(design()).values() for seed in set(seeds)).values(), default=0)
                == len(_arms(design()))
                and all(len(seeds) == len(set(seeds)) for seeds in _arms(design()).values())
            ),
            "an arm has the same seed twice: repeating a run adds nothing",
            (lambda: _grid((0, 0, 1), hide=(0.0, 0.5)),),
        ),
        Rule(
            lambda design: all(len(seeds) >= 3 for seeds in _arms(design()).values()),
            "with fewer than three seeds the interval is useless; add seeds, and shorten the runs if they take too long",
            (lambda: _grid(range(2), hide=(0.0, 0.5)), lambda: _grid(range(1), reconstruction=("detached", "multi"))),
        ),
    ),
)
