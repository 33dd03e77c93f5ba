"""Lesson 04: equation 1, what SimCLR's loss is at collapse, a contrastive loss of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import losses
from .exercise import Fill, Open, Prediction, Rule, Wrong


def _pairs() -> list[tuple[Tensor, Tensor, float]]:
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(5, 8, generator=draw), 3 * torch.randn(5, 8, generator=draw), 0.2),
        (torch.randn(3, 4, generator=draw), 2 * torch.randn(3, 4, generator=draw), 0.5),
    ]


def _cosines(q: Tensor, k: Tensor) -> Tensor:
    return F.normalize(q, dim=1) @ F.normalize(k, dim=1).T


def _asked(scores: Tensor, reduction: str = "mean") -> Tensor:
    """The cross-entropy of scores (B, B) with the right answers on the diagonal."""
    return F.cross_entropy(scores, torch.arange(len(scores)), reduction=reduction)


def _without_positive(q: Tensor, k: Tensor, temperature: float) -> Tensor:
    """The positive left out of the denominator."""
    scores = _cosines(q, k) / temperature
    others = scores.masked_fill(torch.eye(len(q), dtype=torch.bool), float("-inf"))
    return (others.logsumexp(1) - scores.diagonal()).mean()


check_info_nce = Fill(
    task="`info_nce(q, k, temperature)`: equation 1, positives on the diagonal, mean over queries; q and k are (B, D).",
    solved="InfoNCE: right for 8 queries, values and gradients",
    cases=_pairs,
    right=(
        lambda q, k, temperature: _asked(_cosines(q, k) / temperature),
        lambda q, k, temperature: (
            -(F.cosine_similarity(q[:, None], k[None], dim=2) / temperature).log_softmax(1).diagonal().mean()
        ),
        lambda q, k, temperature: (
            sum(torch.logsumexp(row / temperature, 0) - row[i] / temperature for i, row in enumerate(_cosines(q, k)))
            / len(q)
        ),
    ),
    wrong=(
        Wrong(
            lambda q, k, temperature: _asked(q @ k.T / temperature),
            "the lengths of the vectors change the result: scale queries and keys to length 1 first",
        ),
        Wrong(
            lambda q, k, temperature: _asked(F.normalize(q, dim=1) @ k.T / temperature),
            "the keys are not scaled: scale both queries and keys to length 1",
        ),
        Wrong(
            lambda q, k, temperature: _asked(F.normalize(q, dim=0) @ F.normalize(k, dim=0).T / temperature),
            "scale each vector, dim=1; dim=0 scales each coordinate over the batch",
        ),
        Wrong(lambda q, k, temperature: _asked(_cosines(q, k)), "divide the cosines by the temperature"),
        Wrong(
            lambda q, k, temperature: _asked(_cosines(q, k) * temperature),
            "divide by the temperature: a low one makes the softmax sharper",
        ),
        Wrong(
            lambda q, k, temperature: _asked(_cosines(k, q) / temperature),
            "each query chooses among the keys, so a row holds one query and all keys; yours is the other way round",
        ),
        Wrong(
            lambda q, k, temperature: _asked(_cosines(q, k) / temperature, "sum"),
            "take the mean over queries, not their sum: the loss should not grow with the batch",
        ),
        Wrong(
            lambda q, k, temperature: 2 * temperature * _asked(_cosines(q, k) / temperature),
            "that is MoCo v3's form, with its factor 2T; equation 1 has none",
        ),
        Wrong(
            lambda q, k, temperature: -(F.cosine_similarity(q, k) / temperature).mean(),
            "that only pulls: the sum over all keys, in the denominator, is missing",
        ),
        Wrong(
            _without_positive,
            "the positive belongs in the denominator too; without it the loss can fall below zero",
        ),
        Wrong(
            lambda q, k, temperature: -(_cosines(q, k) / temperature).softmax(1).diagonal().mean(),
            "that is the probability of the right key; take its logarithm",
        ),
    ),
    otherwise="Four steps: length 1, all cosines (B, B), divided by the temperature, cross-entropy with the diagonal",
)


check_collapsed_nt_xent = Prediction(
    task="SimCLR's loss for 8 images whose 16 embeddings are all equal: a number, to three digits.",
    solved="collapsed SimCLR: right, ln 15. Each of 16 embeddings guesses among the other 15",
    measure=lambda: losses.nt_xent(torch.ones(8, 4), torch.ones(8, 4), 0.2).item(),
    right=(math.log(15), 2.71, "2.708", torch.tensor(2.708)),
    wrong=(
        Wrong(math.log(8), "ln 8 is InfoNCE's. In SimCLR both views of the other images are negatives, so count again"),
        Wrong(math.log(16), "16 embeddings, but an embedding is not compared with itself"),
        Wrong(math.log(14), "the 14 negatives, and the partner is among the choices too"),
        Wrong(math.log(7), "that counts other images only; count embeddings, and the partner is among the choices"),
        Wrong(15, "that is the number of choices; the loss of a guess among them is its logarithm"),
        Wrong(
            -1,
            "-1 is the negative cosine's minimum. A cross-entropy is never negative: which choices can it not tell apart?",
        ),
        Wrong(0, "0 would mean that each finds its partner with certainty; here all choices look alike"),
        Wrong(math.log10(15), "take the natural logarithm"),
    ),
    otherwise="All scores are equal, so the softmax is a guess: among how many? The loss is the logarithm of that number",
    tolerance=0.005,
)


# -- a loss of one's own


def _distances(z1: Tensor, z2: Tensor) -> Tensor:
    return (F.normalize(z1, dim=1) - F.normalize(z2, dim=1)).square().sum(1)


def _uniformity(z1: Tensor, z2: Tensor) -> Tensor:
    """Wang and Isola's second term: low if points are far apart."""
    z = F.normalize(z1, dim=1)
    return torch.pdist(z).square().mul(-2).exp().mean().log()


def _variance(z: Tensor) -> Tensor:
    return (0.3 - (z.var(0) + 1e-4).sqrt()).clamp(min=0).mean()


def _spread() -> Tensor:
    return torch.eye(8).requires_grad_()


def _gives(loss: Callable[[Tensor, Tensor], Tensor], z1: Tensor, z2: Tensor) -> float:
    return float(torch.as_tensor(loss(z1, z2)).detach())


def _slope(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient with respect to both embeddings, (2, B, D); zero if there is none."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(2, 8, 8, generator=draw).requires_grad_()
    value = loss(z[0], z[1])
    return torch.autograd.grad(value, z)[0] if value.requires_grad else torch.zeros(2, 8, 8)


def _pushed_apart(z1: Tensor, z2: Tensor) -> Tensor:
    """Distances between all points, with a root that has no slope at a point's distance from itself."""
    return _distances(z1, z2).mean() - (z1[:, None] - z1[None]).square().sum(2).sqrt().mean()


def _barlow_twins(z1: Tensor, z2: Tensor, smallest: float) -> Tensor:
    one, two = ((z - z.mean(0)) / (z.std(0) + smallest) for z in (z1, z2))
    return (one.T @ two / len(z1) - torch.eye(z1.shape[1])).square().sum()


def _blind_to_order(loss: Callable[[Tensor, Tensor], Tensor]) -> bool:
    draw = torch.Generator().manual_seed(1)
    z1, z2 = torch.randn(2, 8, 8, generator=draw)
    order = torch.randperm(8, generator=draw)
    return math.isclose(_gives(loss, z1, z2), _gives(loss, z1[order], z2[order]), rel_tol=1e-4, abs_tol=1e-5)


check_own_contrast = Open(
    task="`loss(z1, z2)`, both (B, D): a scalar that is low if pairs agree and does not reward collapse.",
    solved="own contrast: pulls pairs together, and collapse costs more than spread",
    right=(
        lambda z1, z2: losses.info_nce(z1, z2, 0.2),
        lambda z1, z2: losses.nt_xent(z1, z2, 0.5),
        lambda z1, z2: _distances(z1, z2).mean() + _uniformity(z1, z2),
        lambda z1, z2: F.mse_loss(z1, z2) + _variance(z1) + _variance(z2),
        lambda z1, z2: (_cosines(z1, z2) - torch.eye(len(z1))).square().mean(),
        lambda z1, z2: _barlow_twins(z1, z2, 1e-6),
    ),
    rules=(
        Rule(
            lambda loss: isinstance(x := loss(_spread(), _spread()), Tensor) and x.dim() == 0,
            "return one number as a tensor: the mean over the batch",
            (lambda z1, z2: None, _distances, lambda z1, z2: _distances(z1, z2).mean().item()),
        ),
        Rule(
            lambda loss: bool((_slope(loss) != 0).any()),
            "no gradient reaches the embeddings, so nothing would be learned: is something detached?",
            (lambda z1, z2: losses.info_nce(z1.detach(), z2.detach(), 0.2), lambda z1, z2: torch.zeros(())),
        ),
        Rule(
            lambda loss: not bool(_slope(loss).isnan().any()),
            "the gradient is nan: a root of 0 has no slope and a logarithm of 0 no value; add a small number before you "
            "take it",
            (_pushed_apart,),
        ),
        Rule(
            lambda loss: _gives(loss, _spread(), _spread()) < _gives(loss, _spread(), _spread().roll(1, 0)) - 1e-4,
            "pairs that agree should cost less than the same points paired wrongly: something has to pull",
            (_uniformity, lambda z1, z2: F.cosine_similarity(z1, z2).mean()),
        ),
        Rule(
            lambda loss: not math.isnan(_gives(loss, *[torch.ones(8, 8)] * 2)),
            "for equal embeddings the loss is nan: avoid 0 divided by 0",
            (lambda z1, z2: _barlow_twins(z1, z2, 0.0),),
        ),
        Rule(
            lambda loss: _gives(loss, *[torch.ones(8, 8)] * 2) > _gives(loss, _spread(), _spread()) + 1e-4,
            "all embeddings equal costs no more than pairs that are apart, so collapse is a solution: something has to push",
            (
                lambda z1, z2: -F.cosine_similarity(z1, z2).mean(),
                lambda z1, z2: _distances(z1, z2).mean(),
                lambda z1, z2: losses.negative_cosine(z1, z2),
            ),
        ),
        Rule(
            _blind_to_order,
            "the loss depends on where an image stands in the batch; treat all images alike",
            (lambda z1, z2: losses.info_nce(z1, z2, 0.2) + (torch.arange(8.0) * _distances(z1, z2)).mean(),),
        ),
    ),
)
