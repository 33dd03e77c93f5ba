"""Lesson 07: the training step on a small RePre, which parts a loss trains, what chance gives."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ...decoder import ReconstructionDecoder
from ...encoder import build_encoder
from ...frameworks import build_framework
from ...repre import RePre
from .exercise import Fill, Open, Prediction, Rule, Wrong

TOTAL = 10  # steps of the run that the exercise takes two of


@functools.cache
def _untrained() -> RePre:
    """A RePre small enough to train within a second: BYOL on a ViT of 4 patches."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("vit_micro", image_size=8, embed_dim=8, depth=2, num_heads=2, taps=2)
        framework = build_framework("byol", encoder, hidden=8, out=4)
        return RePre(framework, ReconstructionDecoder.for_encoder(encoder))


def _model() -> RePre:
    return copy.deepcopy(_untrained())


def _views(number: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(number)
    return list(torch.rand(2, 3, 3, 8, 8, generator=draw))  # two views of three images


def _two_steps(function: Callable[..., Any], first: int) -> tuple[list[Tensor], list[Any]]:
    """After two of the reader's steps: the online weights; the target's, and which gradients and updates there were."""
    model, done = _model(), []
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learned, lr=0.1)
    optimiser.register_step_post_hook(lambda *_: done.append("update"))
    learned[0].register_hook(lambda _: done.append("gradient"))
    for step in (first, first + 1):
        function(model, optimiser, _views(step), step, TOTAL)
    target = [p.detach() for p in model.parameters() if not p.requires_grad]
    return [p.detach() for p in learned], [target, done]


def _step(*calls: str) -> Callable[..., None]:
    """A step that makes these calls in this order."""

    def train_step(model: Any, optimiser: Any, views: Sequence[Tensor], step: int, total_steps: int) -> None:
        losses: Any = None
        for call in calls:
            if call == "forward":
                losses = model(views)
            elif call == "zero":
                optimiser.zero_grad()
            elif call == "backward":
                losses.total.backward()
            elif call == "step":
                optimiser.step()
            else:
                model.framework.update_target(step + (call == "next"), total_steps)

    return train_step


def _unpacked(model: Any, optimiser: Any, views: Sequence[Tensor], step: int, total_steps: int) -> None:
    _step("zero", "forward", "backward", "step", "target")(lambda v: model(*v), optimiser, views, step, total_steps)


def _one_view(model: Any, optimiser: Any, views: Sequence[Tensor], step: int, total_steps: int) -> None:
    model(views[0])


def _view_twice(model: Any, optimiser: Any, views: Sequence[Tensor], step: int, total_steps: int) -> None:
    _step("zero", "forward", "backward", "step", "target")(model, optimiser, [views[0]] * 2, step, total_steps)


def _on_raw_losses(*names: str) -> Callable[..., None]:
    def train_step(model: Any, optimiser: Any, views: Sequence[Tensor], step: int, total_steps: int) -> None:
        losses = model(views)
        optimiser.zero_grad()
        torch.stack([getattr(losses, name) for name in names]).sum().backward()
        optimiser.step()
        model.framework.update_target(step, total_steps)

    return train_step


check_train_step = Fill(
    task="`train_step(model, optimiser, views, step, total_steps)`: one step in the right order, each with its own "
    "gradient.",
    solved="train step: right order, the same weights after two steps of a small RePre",
    cases=lambda: [(3,)],
    watch=_two_steps,
    right=(
        _step("forward", "zero", "backward", "step", "target"),
        _step("zero", "forward", "backward", "step", "target"),
        _step("forward", "backward", "step", "target", "zero"),
        _step("forward", "backward", "step", "zero", "target"),
    ),
    wrong=(
        Wrong(
            _step("forward", "backward", "step", "target"),
            "backward adds to the gradients of the last step, so call zero_grad once a step",
        ),
        Wrong(
            _step("forward", "backward", "zero", "step", "target"),
            "zero_grad between backward and the optimiser throws away the gradients that the optimiser needs",
        ),
        Wrong(
            _step("zero", "forward", "backward", "target", "step"),
            "the target follows weights that the optimiser has not written yet: it comes last",
        ),
        Wrong(
            _step("zero", "forward", "backward", "step"),
            "the target stays where it was: call model.framework.update_target",
        ),
        Wrong(
            _step("zero", "forward", "step", "target"),
            "without backward there are no gradients, and the weights stay as they are",
        ),
        Wrong(
            _step("zero", "forward", "backward", "target"),
            "the gradients are there, but nothing uses them: call optimiser.step()",
        ),
        Wrong(
            _step("zero", "forward", "backward", "step", "next"),
            "the target is updated with the number of this step, not of the next one: its coefficient depends on it",
        ),
        Wrong(
            _step("zero", "forward", "backward", "step", "target", "target"),
            "the target is updated twice in a step, so it follows twice as fast",
        ),
        Wrong(_unpacked, "the model takes the list of views as one argument: model(views)"),
        Wrong(_one_view, "the model takes the list of both views, not a single one"),
        Wrong(_view_twice, "both views are the same one: give the model the list as it is"),
        Wrong(
            _on_raw_losses("contrastive"),
            "only the contrastive loss is minimised: call backward on the total, which weighs both",
        ),
        Wrong(
            _on_raw_losses("reconstruction"),
            "only the reconstruction loss is minimised: call backward on the total, which weighs both",
        ),
        Wrong(
            _on_raw_losses("contrastive", "reconstruction"),
            "that adds the two raw losses; the total weighs them, and its weights learn too",
        ),
    ),
    otherwise="In this order: forward, no old gradients, backward on the total, optimiser, target with this step's number",
)


def _reached() -> set[str]:
    """The parts of a small RePre that the reconstruction loss alone sends a gradient to."""
    model = _model()
    model(_views(0)).reconstruction.backward()
    parts = {**dict(model.framework.named_children()), "decoder": model.decoder, "weighting": model.weighting}
    return {name for name, part in parts.items() if part and any(p.grad is not None for p in part.parameters())}


EVERY = {"online", "projector", "predictor", "target_encoder", "target_projector", "decoder", "weighting"}
check_reached_parts = Prediction(
    task="The parts that get a gradient from the reconstruction loss alone: a set of names out of online, projector, "
    "predictor, target_encoder, target_projector, decoder, weighting.",
    solved="reached parts: right. The raw reconstruction loss trains the decoder, and through the taps the encoder",
    measure=_reached,
    right=({"online", "decoder"}, ["decoder", "online"], ("Online", "Decoder")),
    wrong=(
        Wrong(
            {"decoder"},
            "that is the arm `detached`. Here the taps carry the gradient on into the encoder, which is the point of "
            "RePre",
        ),
        Wrong(
            {"encoder", "decoder"},
            "those are the right parts, but the encoder that is trained is called online in the list above",
        ),
        Wrong({"online"}, "the loss is computed from what the decoder returns, so the decoder learns too"),
        Wrong(
            {"online", "decoder", "weighting"},
            "the log-variances enter only when the two losses are weighed; this is the raw loss",
        ),
        Wrong(
            {"online", "decoder", "projector", "predictor"},
            "projector and predictor come after the pooled feature; the decoder reads the taps",
        ),
        Wrong({"online", "decoder", "target_encoder"}, "the target has no gradient from any loss: it only follows"),
        Wrong(EVERY - {"target_encoder", "target_projector"}, "that is right for the total; this is one raw loss"),
        Wrong(EVERY, "the target never gets a gradient, and the contrastive heads are not on the path of this loss"),
    ),
    otherwise="Follow the loss backwards: which modules computed the reconstruction?",
)


# -- what chance gives


def _sign_test(gains: Sequence[float]) -> float:
    count, rises = len(gains), sum(gain > 0 for gain in gains)
    extreme = max(rises, count - rises)
    tail: int = sum(math.comb(count, k) for k in range(extreme, count + 1))
    return float(min(1, 2 * tail / 2**count))


def _flips(gains: Sequence[float], sides: int = 2) -> float:
    """The share of all ways to flip signs whose sum is at least as large."""
    values = [float(gain) for gain in gains]
    sums = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    seen = sum(values)
    at_least = [abs(x) >= abs(seen) - 1e-9 if sides == 2 else x >= seen - 1e-9 for x in sums]
    return sum(at_least) / len(sums)


def _random_flips(gains: Sequence[float], seed: int | None = None) -> float:
    """The share of 2,000 random patterns of signs whose sum is at least as large."""
    values, draw = torch.tensor(gains), None if seed is None else torch.Generator().manual_seed(seed)
    sums = (torch.randint(0, 2, (2000, len(values)), generator=draw, dtype=values.dtype) * 2 - 1) @ values
    return float((sums.abs() >= values.sum().abs() - 1e-6 * values.abs().sum()).float().mean())


def _t_test(gains: Sequence[float]) -> float:
    """Two-sided, by a sum over the density of Student's t."""
    x = torch.as_tensor(gains, dtype=torch.float64)
    free = len(x) - 1
    t = abs(float(x.mean() / (x.std() / len(x) ** 0.5 + 1e-12)))
    grid = torch.linspace(0, min(t, 1e3), 20_001, dtype=torch.float64)
    scale = math.exp(math.lgamma((free + 1) / 2) - math.lgamma(free / 2)) / math.sqrt(free * math.pi)
    inside = torch.trapezoid(scale * (1 + grid.square() / free) ** (-(free + 1) / 2), grid)
    return max(0.0, 1 - 2 * float(inside))


Chance = Callable[[Sequence[float]], float]
GAINS = [1.2, 0.4, 2.0]

check_chance = Open(
    task="`chance(gains)`: how often chance alone gives paired differences at least as one-sided as these, from 0 to 1.",
    solved="chance: symmetric, without a unit, and sure only with many seeds",
    right=(_sign_test, _flips, _t_test, lambda gains: Fraction(_flips(gains)), lambda gains: _random_flips(gains, 0)),
    rules=(
        Rule(
            lambda f: isinstance(f(GAINS), (Real, Tensor)) and not isinstance(f(GAINS), bool),
            "return a number from 0 to 1, not a verdict",
            (lambda gains: None, lambda gains: sum(gains) > 0),
        ),
        Rule(
            lambda f: all(0 <= float(f(g)) <= 1 for g in (GAINS, [-3.0, -1.0, -2.0], [0.5] * 4 + [-0.4])),
            "the share of chance's outcomes lies between 0 and 1; a mean, or a mean over its spread, does not",
            (
                lambda gains: sum(gains) / len(gains),
                lambda gains: float(torch.tensor(gains).mean() / torch.tensor(gains).std()),
            ),
        ),
        Rule(
            lambda f: len({float(f(GAINS)) for _ in range(4)}) == 1,
            "two calls give two answers: seed the generator, or go through all patterns of signs",
            (_random_flips,),
        ),
        Rule(
            lambda f: math.isclose(float(f(GAINS)), float(f([10 * g for g in GAINS])), abs_tol=1e-6),
            "the answer depends on the unit: points or shares must give the same",
            (lambda gains: math.exp(-abs(sum(gains))),),
        ),
        Rule(
            lambda f: math.isclose(float(f(GAINS)), float(f([-g for g in GAINS])), abs_tol=1e-6),
            "three losses are as surprising as three gains: count both directions",
            (lambda gains: _flips(gains, sides=1), lambda gains: 0.5 ** len(gains) if min(gains) > 0 else 1.0),
        ),
        Rule(
            lambda f: float(f([1.0, -1.1, 0.9, -0.8])) > 0.5,
            "gains and losses of one size are what chance looks like, but the answer is low: does each sign count?",
            (lambda gains: 2 * 0.5 ** len(gains),),
        ),
        Rule(
            lambda f: float(f(GAINS)) > 0.05,
            "for gains of 1.2, 0.4 and 2.0 the answer is close to 0; chance gives three equal signs one time in four",
            (lambda gains: 2 * min(sum(g < 0 for g in gains), sum(g > 0 for g in gains)) / len(gains),),
        ),
        Rule(
            lambda f: float(f([1.0, 1.2, 0.9] * 3)) < min(0.05, float(f([1.0, -0.2, 0.9]))),
            "nine gains out of nine are hardly chance, but the answer does not fall with more seeds",
            (lambda gains: 1.0, lambda gains: 1 - abs(sum(g > 0 for g in gains) / len(gains) - 0.5)),
        ),
    ),
)
