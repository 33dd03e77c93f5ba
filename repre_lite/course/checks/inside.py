"""Lesson 08: how alike patches are, what a shared vector does to a cosine, a measure that ignores it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from ...evaluation.collapse import effective_rank, patch_cosine
from .exercise import Fill, Open, Prediction, Rule, Wrong, values


def _taps() -> list[tuple[Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(2, 3, 2, 2, generator=draw) + 0.5,), (torch.randn(3, 5, 3, 2, generator=draw),)]


def _cosines(tap: Tensor) -> Tensor:
    """All cosines between the patches of each image, (B, N, N)."""
    unit = F.normalize(tap.flatten(2), dim=1)
    return unit.mT @ unit


def _one_by_one(tap: Tensor) -> Tensor:
    found = []
    for image in tap.flatten(2).mT:  # (N, C)
        pairs = [F.cosine_similarity(a, b, dim=0) for i, a in enumerate(image) for b in image[:i]]
        found.append(torch.stack(pairs).mean())
    return torch.stack(found)


def _masked(tap: Tensor) -> Tensor:
    cosine = _cosines(tap)
    different = ~torch.eye(cosine.shape[1], dtype=torch.bool)
    return cosine[:, different].mean(1)


check_patch_cosine = Fill(
    task="`patch_cosine(tap)`: a tap (B, C, h, w) -> (B,), for each image the mean cosine between two different patches.",
    solved="patch cosine: right for 2 taps",
    cases=_taps,
    watch=values,
    right=(patch_cosine, _one_by_one, _masked, lambda tap: patch_cosine(tap).tolist()),
    wrong=(
        Wrong(
            lambda tap: _cosines(tap).mean((1, 2)),
            "a patch is compared with itself too, and that cosine is always 1: leave the diagonal out",
        ),
        Wrong(
            lambda tap: (_cosines(tap).sum((1, 2)) - tap[0, 0].numel()) / tap[0, 0].numel() ** 2,
            "without the diagonal there are N (N - 1) pairs left, not N squared",
        ),
        Wrong(
            lambda tap: _masked(tap).mean(),
            "that is one number for the whole batch: keep one for each image",
        ),
        Wrong(
            lambda tap: (tap.flatten(2).mT @ tap.flatten(2)).sum((1, 2)) / tap[0, 0].numel() ** 2,
            "those are dot products: scale every patch to length 1 first",
        ),
        Wrong(
            lambda tap: _masked(tap.flatten(2).mT[..., None]),
            "channels are compared with channels: a patch is a vector of C numbers, one for each channel",
        ),
        Wrong(
            lambda tap: _masked(tap - tap.mean((2, 3), keepdim=True)),
            "the mean patch of the image has been subtracted; that is section 4, here compare the patches as they are",
        ),
        Wrong(
            lambda tap: _masked(tap).abs(),
            "patches that point in opposite ways have a negative cosine: keep its sign",
        ),
        Wrong(
            lambda tap: _cosines(tap),
            "those are all pairs; return their mean, without the diagonal",
        ),
    ),
    otherwise="Four steps: (B, C, h, w) to (B, C, N), each patch to length 1, all cosines (B, N, N), their mean without "
    "the diagonal",
)


def _shifted() -> float:
    one, two = torch.eye(3)[0], torch.eye(3)[1]
    shared = 3 * torch.eye(3)[2]
    return float(F.cosine_similarity(one + shared, two + shared, dim=0))


check_shifted_cosine = Prediction(
    task="Two patches of length 1 at a right angle; to both the same vector of length 3 is added, at a right angle to "
    "both. Their cosine: a number.",
    solved="shifted cosine: right. The patches differ as much as before, and the cosine says that they are nearly the same",
    measure=_shifted,
    right=(0.9, Fraction(9, 10), torch.tensor(0.9), 9 / (1 + 9)),
    wrong=(
        Wrong(0, "that is the cosine before; the new parts point the same way and count in the dot product"),
        Wrong(1, "nearly, but the two patches still differ: divide the dot product by both lengths"),
        Wrong(9, "that is the dot product; divide it by both lengths"),
        Wrong(0.75, "lengths do not add at a right angle: a new patch is the square root of 1 + 9 long"),
        Wrong(3 / 10**0.5, "that is the cosine of one patch with the added vector; compare the two patches"),
        Wrong(0.1, "that is what still differs; the cosine is the rest"),
        Wrong(90, "give the cosine as a number up to 1, not in per cent"),
    ),
    otherwise="Write both new patches as three numbers: (1, 0, 3) and (0, 1, 3). Dot product over the product of lengths",
)


# -- a measure of one's own

Measure = Callable[[Tensor], Tensor]


def _tokens(tap: Tensor) -> Tensor:
    """The patches of each image around their mean, (B, N, C)."""
    tokens = tap.double().flatten(2).mT
    return tokens - tokens.mean(1, keepdim=True)


def _spectrum(tap: Tensor) -> Tensor:
    """The variances along the principal directions of each image, (B, min(N, C))."""
    spectrum: Tensor = torch.linalg.svdvals(_tokens(tap)).square()
    return spectrum


def _ranks(tap: Tensor) -> Tensor:
    return torch.tensor([effective_rank(image.flatten(1).T) for image in tap])


def _participation(tap: Tensor) -> Tensor:
    spectrum = _spectrum(tap)
    ratio: Tensor = spectrum.sum(1).square() / spectrum.square().sum(1).clamp(min=1e-30)
    return ratio


def _beside_the_first(tap: Tensor) -> Tensor:
    spectrum = _spectrum(tap)
    share: Tensor = spectrum[:, 1:].sum(1) / spectrum.sum(1).clamp(min=1e-20)
    return share


def _angles(tap: Tensor) -> Tensor:
    """One minus the mean squared cosine between centred patches."""
    return 1 - _cosines(_tokens(tap).mT[..., None]).square().mean((1, 2))


def _varied() -> Tensor:
    return torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))


def _along_a_line() -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 6, 1, 1, generator=draw) * torch.randn(2, 1, 4, 4, generator=draw)


def _equal() -> Tensor:
    return torch.ones(2, 6, 4, 4)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-4))


check_own_diversity = Open(
    task="`diversity(tap)`: (B, C, h, w) -> (B,), higher if the patches of an image differ in more ways; a vector added to "
    "all patches does not change it, and neither does a factor.",
    solved="own diversity: rises with the directions in which patches differ, blind to shared vector and scale",
    right=(_ranks, _participation, _beside_the_first),
    rules=(
        Rule(
            lambda measure: isinstance(x := measure(_varied()), Tensor) and x.shape == (2,),
            "return one number for each image, as a tensor (B,)",
            (lambda tap: None, lambda tap: _participation(tap).mean(), lambda tap: _spectrum(tap)),
        ),
        Rule(
            lambda measure: bool((measure(_varied()) > measure(_along_a_line()) + 1e-3).all()),
            "patches that all lie on one line should score less than patches that differ in many directions",
            (
                lambda tap: -_participation(tap),
                lambda tap: torch.zeros(len(tap)),
                lambda tap: (_spectrum(tap).sum(1) > 1e-9).float(),
            ),
        ),
        Rule(
            lambda measure: _close(measure(_varied() + 7), measure(_varied())),
            "a vector added to all patches changes the result, though they differ as before: subtract their mean first",
            (
                lambda tap: torch.linalg.svdvals(tap.flatten(2))[:, 1] / torch.linalg.svdvals(tap.flatten(2))[:, 0],
                lambda tap: _participation(tap) / tap.flatten(1).norm(dim=1),
            ),
        ),
        Rule(
            lambda measure: _close(measure(5 * _varied()), measure(_varied())),
            "five times larger features score differently: divide by their size, or compare shares",
            (lambda tap: _spectrum(tap)[:, 1], lambda tap: _spectrum(tap)[:, 1:].sum(1).sqrt()),
        ),
        Rule(
            lambda measure: bool((m := measure(_equal())).isfinite().all() and (m < measure(_varied())).all()),
            "patches that are all equal should get a finite number, and a low one: avoid 0 divided by 0",
            (
                lambda tap: 1 - _spectrum(tap)[:, 0] / _spectrum(tap).sum(1),
                _angles,
            ),
        ),
    ),
)
