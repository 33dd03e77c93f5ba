"""What a checker is made of: a task, right answers in several styles, and typical wrong ones, each with its own hint.

A checker is one of three tables. `Fill`: a function to write, compared with a reference in values, gradients and side
effects. `Prediction`: a value, compared with what is measured. `Open`: anything that keeps some rules.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .comparing import same

DOTS = "replace the three dots with your answer"


class Wrong(NamedTuple):
    """A typical wrong answer, and the hint for it."""

    answer: Any
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One exercise. Calling it with an answer prints `solved`, or raises AssertionError with a hint.

    `task` is its documentation. `right`: answers that must pass, the reference first. The Ellipsis of a stub raises
    NotImplementedError.
    """

    task: str
    solved: str
    right: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.task)

    def __call__(self, answer: Any) -> None:
        """Judge `answer`."""
        if answer is ...:
            raise NotImplementedError(DOTS)
        fault = self.fault(answer)
        if fault:
            raise AssertionError(fault)
        print(self.solved)

    def fault(self, answer: Any) -> str:
        """The hint for `answer`, empty if it is right."""
        raise NotImplementedError

    def mistakes(self) -> Iterable[Wrong]:
        """The table of typical wrong answers."""
        raise NotImplementedError


def gradients(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[Tensor | None]]:
    """The value of a function of tensors and its gradient to each of them that is floating; None if there is none.

    The gradient is that of a sum in which no two elements weigh alike.
    """
    given = [a.clone().requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments]
    value = function(*given)
    leaves = [a for a in given if isinstance(a, Tensor) and a.requires_grad]
    if not isinstance(value, Tensor) or not value.requires_grad:
        return value, [None] * len(leaves)
    weights = torch.linspace(1, 2, max(1, value.numel()), dtype=value.dtype).view(value.shape)
    return value, list(torch.autograd.grad((weights * value).sum(), leaves, allow_unused=True))


def values(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[Tensor | None]]:
    """The value of a function of copies of its arguments, without a gradient; numbers in any container as a tensor."""
    value = function(*[a.clone() if isinstance(a, Tensor) else a for a in arguments])
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # what holds no numbers stays as it is
        value = torch.as_tensor(value)
    return value, []


@dataclass(frozen=True)
class Fill(Exercise):
    """A function to write. It is run on every one of `cases()`, and so are the reference and the wrong answers.

    `watch(function, *case)` says what counts: a pair of the value and of what the value cannot show (gradients, what
    was changed). `otherwise`: the hint if no typical mistake gives the same results. An error inside the reader's
    function is shown as it is, unless a typical wrong answer raises the same one.
    """

    cases: Callable[[], Sequence[tuple[Any, ...]]]
    wrong: tuple[Wrong, ...]
    otherwise: str
    watch: Callable[..., tuple[Any, Any]] = gradients

    def mistakes(self) -> Iterable[Wrong]:
        """The table of typical wrong answers."""
        return self.wrong

    @cached_property
    def names(self) -> list[str]:
        """The names of the function's arguments."""
        return list(inspect.signature(self.right[0]).parameters)

    def fault(self, answer: Any) -> str:
        """The hint for `answer`, empty if it does what the reference does. Raises TypeError for what is no function."""
        if not callable(answer):
            raise TypeError("give the function itself, without parentheses, not its result")
        seen, expected = self._seen(answer), self._seen(self.right[0])
        if same(seen, expected):
            return ""
        for wrong in self.wrong:
            if same(seen, self._seen(wrong.answer)):
                return wrong.hint
        for mine, theirs in zip(seen, expected, strict=True):
            if not same(mine, theirs):
                if isinstance(mine, Exception):
                    raise mine
                return self._difference(mine, theirs)
        return self.otherwise

    def _seen(self, function: Callable[..., Any]) -> list[Any]:
        seen: list[Any] = []
        for case in self.cases():
            try:
                seen.append(self.watch(function, *case))
            except NotImplementedError:
                raise
            except Exception as error:
                seen.append(error)
        return seen

    def _difference(self, mine: tuple[Any, Any], theirs: tuple[Any, Any]) -> str:
        """How a result that no typical mistake gives differs from the right one."""
        (value, beside), (expected, expected_beside) = mine, theirs
        if value is None and expected is not None:
            return "the function returns None: is the return statement missing?"
        if isinstance(expected, Tensor) and not isinstance(value, Tensor):
            why = ", which can carry a gradient" if self.watch is gradients else ""
            return f"the function returns a {type(value).__name__}; return a tensor{why}"
        if isinstance(expected, Tensor) and value.shape != expected.shape:
            return f"the shape is {tuple(value.shape)}, but it should be {tuple(expected.shape)}. {self.otherwise}"
        if same(value, expected) and self.watch is gradients:
            for name, gradient, reference in zip(self._leaves(), beside, expected_beside, strict=True):
                if not same(gradient, reference):
                    return f"the value is right, but its gradient does not reach {name}: is something detached?"
        return self.otherwise

    def _leaves(self) -> list[str]:
        case = self.cases()[0]
        return [n for n, a in zip(self.names, case, strict=True) if isinstance(a, Tensor) and a.is_floating_point()]


@dataclass(frozen=True)
class Prediction(Exercise):
    """A value to predict before it is measured: a number, a word, or a set of words.

    `measure` finds the right one on a small real module. A number may be off by the share `tolerance`. `otherwise` is
    the hint for an answer that is nobody's typical mistake.
    """

    measure: Callable[[], Any]
    wrong: tuple[Wrong, ...]
    otherwise: str
    tolerance: float = 0.01

    def mistakes(self) -> Iterable[Wrong]:
        """The table of typical wrong answers."""
        return self.wrong

    def fault(self, answer: Any) -> str:
        """The hint for `answer`, empty if it is right."""
        truth, given = plain(self.measure()), plain(answer)
        if type(truth) is not type(given):
            kind = {float: "a number", str: "one word", frozenset: "a set of names"}[type(truth)]
            return f"the answer is {kind}. {self.otherwise}"
        if self._close(given, truth):
            return ""
        for wrong in self.wrong:
            if self._close(given, plain(wrong.answer)):
                return wrong.hint
        return self.otherwise

    def _close(self, given: Any, other: Any) -> bool:
        if isinstance(given, float):
            return bool(abs(given - other) <= self.tolerance * abs(other) + 1e-9)
        return bool(given == other)


def plain(answer: Any) -> Any:
    """A prediction in one form: a number as float, a word in small letters, several words as a frozenset."""
    if isinstance(answer, (list, tuple, set, frozenset)) and all(isinstance(word, str) for word in answer):
        return frozenset(word.strip().lower() for word in answer)
    try:
        return float(answer)
    except (TypeError, ValueError):
        return answer.strip().lower() if isinstance(answer, str) else answer


class Rule(NamedTuple):
    """What an open answer must keep: `holds(answer)`, the hint if it does not, and answers that break it first."""

    holds: Callable[[Any], bool]
    hint: str
    broken_by: tuple[Any, ...]


@dataclass(frozen=True)
class Open(Exercise):
    """An exercise with many right answers: any that keeps all `rules`, which are checked in order."""

    rules: tuple[Rule, ...]

    def mistakes(self) -> Iterable[Wrong]:
        """The typical wrong answers of all rules."""
        return [Wrong(answer, rule.hint) for rule in self.rules for answer in rule.broken_by]

    def fault(self, answer: Any) -> str:
        """The hint of the first rule that `answer` breaks; empty if it keeps all."""
        return next((rule.hint for rule in self.rules if not rule.holds(answer)), "")
