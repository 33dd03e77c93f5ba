"""Lesson 06: Kendall's form, where a weight settles, a weighting of one's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...losses import UncertaintyWeighting
from .exercise import Fill, Open, Prediction, Rule, Wrong


def _kendall(losses: Tensor, s: Tensor) -> Tensor:
    return ((-s).exp() * losses + s).sum() / 2


check_uncertainty_total = Fill(
    task="`uncertainty_total(losses, s)`: half of the sum of exp(-s) L + s over both losses, each (2,), with its gradient.",
    solved="uncertainty total: right for 2 cases, values and gradients",
    cases=lambda: [
        (torch.tensor([2.0, 0.1]), torch.tensor([0.5, -1.5])),
        (torch.tensor([0.4, 3.0]), torch.tensor([1.0, 0.7])),
    ],
    right=(
        _kendall,
        lambda losses, s: sum(torch.exp(-a) * loss + a for loss, a in zip(losses, s, strict=True)) / 2,
        lambda losses, s: (losses / s.exp()).mean() + s.mean(),
        lambda losses, s: (losses / (2 * s.exp()) + s.exp().sqrt().log()).sum(),
    ),
    wrong=(
        Wrong(
            lambda losses, s: ((-s).exp() * losses).sum() / 2,
            "the + s is missing: without it the lowest total is at weights of zero",
        ),
        Wrong(
            lambda losses, s: ((-s).exp() * losses + s).sum(),
            "twice too large: the factor one half applies to both terms, since log sigma = s / 2",
        ),
        Wrong(
            lambda losses, s: ((-s).exp() * losses / 2 + s).sum(),
            "the factor one half applies to both terms; without it at s, a weight settles at 1 / L instead of 1 / (2L)",
        ),
        Wrong(
            lambda losses, s: ((-s).exp() * losses + s / 2).sum(),
            "the factor one half applies to both terms, also to the weighted loss",
        ),
        Wrong(
            lambda losses, s: (s.exp() * losses + s).sum() / 2,
            "the sign in the exponent: a large variance means a noisy task, and its weight exp(-s) is small",
        ),
        Wrong(
            lambda losses, s: ((-s).exp() * losses - s).sum() / 2,
            "the sign of s: subtracted, it rewards weights of zero instead of keeping them up",
        ),
        Wrong(
            lambda losses, s: ((-2 * s).exp() * losses + 2 * s).sum() / 2,
            "that takes s as log sigma; here s is the log of the variance, sigma squared",
        ),
        Wrong(
            lambda losses, s: (losses / s + s.log()).sum() / 2,
            "that takes s as the variance itself, which may become negative; s is its logarithm",
        ),
        Wrong(
            lambda losses, s: ((-s).exp() * losses + s) / 2,
            "one number for each loss: add them, since a total is one scalar",
        ),
        Wrong(
            lambda losses, s: _kendall(losses.detach(), s),
            "the value is right, but the losses get no gradient: the network would learn nothing",
        ),
        Wrong(
            lambda losses, s: ((-s).exp().detach() * losses + s).sum() / 2,
            "the value is right, but the weight is detached: then only the term + s acts on s, which falls without bound",
        ),
        Wrong(
            lambda losses, s: _kendall(losses, s.detach()),
            "the value is right, but s gets no gradient: the weights would stay as they are",
        ),
        Wrong(
            lambda losses, s: losses.sum() / 2,
            "the log-variances are not used: weigh each loss by exp(-s) and add s",
        ),
    ),
    otherwise="For each loss: its weight exp(-s) times the loss, plus s. Add both, and halve",
)


def _settled(losses: tuple[float, float]) -> float:
    """The weight of the second loss at rest."""
    weighting = UncertaintyWeighting()
    weighting(*torch.tensor(losses))  # the first batch sets s to where it rests
    return float(weighting.weights[1])


check_settled_weight = Prediction(
    task="Where the weight of the second loss settles if it is 25.5 instead of 0.1: a number.",
    solved="settled weight: right, 1 / (2 * 25.5). The loss times its weight is one half as before",
    measure=lambda: _settled((2.0, 25.5)),
    right=(0.0196, 1 / 51, "0.0196", torch.tensor(0.0196)),
    wrong=(
        Wrong(5, "the weight follows its loss; what stays as it was is their product, and so the pull on the encoder"),
        Wrong(1 / 25.5, "that is 1 / L. Kendall's form has a factor of one half: the weight is exp(-s) / 2"),
        Wrong(1275, "that grows with the loss; the weight goes as 1 / L, so it falls"),
        Wrong(0.5, "one half is the product of the weight and its loss"),
        Wrong(0.25, "0.25 is the weight of the first loss, which has not changed"),
        Wrong(51, "that is the inverse: the weight is 1 / (2L)"),
        Wrong(0, "a weight exp(-s) / 2 is never zero: where is the derivative (1 - exp(-s) L) / 2 zero?"),
    ),
    otherwise="At rest exp(s) = L, and the weight is exp(-s) / 2",
    tolerance=0.03,
)


# -- a weighting of one's own

Weighting = Callable[[Tensor, Tensor], Tensor]
CONSTANT = (2.0, 0.1)


def _weights(weighting: Weighting, s: Tensor) -> Tensor:
    """What each of two constant losses is multiplied by at `s`: its gradient, (2,)."""
    losses = torch.tensor(CONSTANT, requires_grad=True)
    total = weighting(losses, s)
    gradient = torch.autograd.grad(total, losses, allow_unused=True)[0] if total.requires_grad else None
    return torch.zeros(2) if gradient is None else gradient


def _moves(weighting: Weighting) -> bool:
    """Whether both s get a gradient."""
    s = torch.tensor([0.3, 0.7], requires_grad=True)
    total = weighting(torch.tensor(CONSTANT), s)
    gradient = torch.autograd.grad(total, s, allow_unused=True)[0] if total.requires_grad else None
    return gradient is not None and bool((gradient != 0).all())


def _scalar(weighting: Weighting) -> bool:
    total = weighting(torch.tensor(CONSTANT, requires_grad=True), torch.zeros(2, requires_grad=True))
    return isinstance(total, Tensor) and total.dim() == 0


def _rest(weighting: Weighting, steps: int = 150) -> Tensor:
    """The weights after Adam has moved s on constant losses, (2,)."""
    s = torch.full((2,), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([s], lr=0.2)
    for _ in range(steps):
        optimiser.zero_grad()
        weighting(torch.tensor(CONSTANT), s).backward()
        optimiser.step()
    return _weights(weighting, s.detach())


check_own_weighting = Open(
    task="`weighting(losses, s)`, each (2,) -> a scalar to minimise over the network and s, in which the weights stay "
    "above zero, settle, and follow the sizes of the losses.",
    solved="own weighting: the weights stay above zero, settle, and are larger for the smaller loss",
    right=(
        _kendall,
        lambda losses, s: (losses / (2 * s.exp()) + torch.log(1 + s.exp())).sum(),
        lambda losses, s: (F.softplus(s) * losses - F.softplus(s).log()).sum(),
        lambda losses, s: (s.exp() * losses).sum() - s.sum(),
        lambda losses, s: (s.square() * losses - s.square().log()).sum(),
    ),
    rules=(
        Rule(
            _scalar,
            "return one scalar as a tensor: the sum over both losses",
            (lambda losses, s: (-s).exp() * losses + s, lambda losses, s: None),
        ),
        Rule(
            lambda w: bool((_weights(w, torch.tensor([0.3, 0.7])) != 0).all()),
            "no gradient reaches one of the losses, so the network would not learn it",
            (
                lambda losses, s: _kendall(losses.detach(), s),
                lambda losses, s: (-s[0]).exp() * losses[0] + s.sum(),
            ),
        ),
        Rule(
            _moves,
            "s gets no gradient, so these weights are fixed: let the total depend on both s",
            (lambda losses, s: losses.sum() + 0 * s.sum(), lambda losses, s: _kendall(losses, s.detach())),
        ),
        Rule(
            lambda w: all(bool((_weights(w, torch.full((2,), s)) > 0).all()) for s in (-3.0, -0.5, 0.5, 3.0)),
            "for some s a weight is negative, and then its loss is maximised: make the weight a function that stays "
            "above zero, such as exp(-s)",
            (lambda losses, s: (s * losses).sum(), lambda losses, s: (s * losses).sum() + (1 - s).square().sum()),
        ),
        Rule(
            lambda w: not bool(_rest(w).isnan().any()),
            "as s is learned, the total becomes nan: s may become negative, and then it has no root and no logarithm; "
            "take those of exp(s)",
            (lambda losses, s: ((-s).exp() * losses / 2 + s.sqrt()).sum(),),
        ),
        Rule(
            lambda w: bool((_rest(w) > 0.02).all()),
            "on losses of 2 and 0.1 a weight goes to zero: something has to keep it up, a price for a small weight",
            (
                lambda losses, s: ((-s).exp() * losses).sum(),
                lambda losses, s: ((-s).exp() * losses - s).sum(),
                lambda losses, s: (s.softmax(0) * losses).sum(),
            ),
        ),
        Rule(
            lambda w: bool((_rest(w) < 1000).all()),
            "a weight grows without bound: nothing balances the price for a small weight",
            (lambda losses, s: (s.exp() * losses.detach()).sum() * 0 + (s.exp() * (losses - 3)).sum(),),
        ),
        Rule(
            lambda w: float(_rest(w).log().diff()) > 0.7,
            "at rest the second loss, twenty times smaller, has less than twice the weight of the first",
            (
                lambda losses, s: ((-s).exp() * losses + s * losses.detach()).sum(),
                lambda losses, s: (s.exp() * losses).sum() + (s - 1).square().sum() * 100,
            ),
        ),
    ),
)
