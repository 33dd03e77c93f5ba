"""Lesson 01: what two crops share, how often they share nothing, a view of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...data.view import View
from ...data.views import Views
from .. import probes
from .exercise import Fill, Open, Prediction, Rule, Wrong

PAIRS, SIDE = 10_000, 224


def _boxes() -> list[tuple[Tensor, Tensor]]:
    """Pairs of boxes: two that overlap, one inside the other, the other way round, equal, apart in one direction, in both,
    side by side."""
    drawn = (
        ((4, 3, 17, 19), (11, 13, 18, 15)), ((6, 5, 10, 8), (2, 1, 28, 30)), ((2, 1, 28, 30), (6, 5, 10, 8)),
        ((7, 9, 12, 16), (7, 9, 12, 16)), ((0, 4, 8, 20), (15, 6, 10, 20)), ((0, 0, 9, 7), (20, 18, 12, 10)),
        ((3, 0, 20, 11), (5, 11, 20, 14)),
    )  # fmt: skip
    return [(torch.tensor(one), torch.tensor(other)) for one, other in drawn]


def _share(function: Callable[..., Any], one: Tensor, other: Tensor) -> tuple[Any, None]:
    """What the function returns, as a tensor () of any number."""
    value = function(one.clone(), other.clone())
    return (None if value is None else torch.as_tensor(value, dtype=torch.float64).squeeze()), None


def _sides(one: Tensor, other: Tensor) -> Tensor:
    """Height and width of what both boxes show, (2,), negative if they are apart."""
    return torch.minimum(one[:2] + one[2:], other[:2] + other[2:]) - torch.maximum(one[:2], other[:2])


def _area(one: Tensor, other: Tensor) -> Tensor:
    return _sides(one, other).clamp(min=0).prod()


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    return _area(one, other) / one[2:].prod()


def _overlap_in_python(one: Tensor, other: Tensor) -> float:
    top, left, height, width = one.tolist()
    other_top, other_left, other_height, other_width = other.tolist()
    rows = min(top + height, other_top + other_height) - max(top, other_top)
    columns = min(left + width, other_left + other_width) - max(left, other_left)
    return float(max(0, rows) * max(0, columns) / (height * width))


def _overlap_of_masks(one: Tensor, other: Tensor) -> Tensor:
    shown = torch.zeros(2, 64, 64, dtype=torch.bool)
    for mask, (top, left, height, width) in zip(shown, (one.tolist(), other.tolist()), strict=True):
        mask[top : top + height, left : left + width] = True
    return (shown[0] & shown[1]).sum() / shown[0].sum()


def _overlap_of_corners(one: Tensor, other: Tensor) -> Tensor:
    sides = (torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])).clamp(min=0)
    return sides.prod() / one[2:].prod()


check_overlap = Fill(
    task="`overlap(one, other)`: the share of the first crop's pixels that the second crop shows too. Each is an int64 "
    "tensor (4,): top, left, height, width.",
    solved="overlap: right, also for crops that share nothing",
    cases=_boxes,
    watch=_share,
    right=(_overlap, _overlap_in_python, _overlap_of_masks),
    wrong=(
        Wrong(
            lambda one, other: _sides(one, other).prod() / one[2:].prod(),
            "two crops that are apart get a share that is not 0: cut off both sides of the overlap at 0 before you "
            "multiply, because a negative height times a negative width is positive",
        ),
        Wrong(
            lambda one, other: _sides(one, other).prod().clamp(min=0) / one[2:].prod(),
            "two crops that are apart in both directions get a positive share: cut off each side at 0, not their product",
        ),
        Wrong(
            lambda one, other: _area(one, other) / (one[2:].prod() + other[2:].prod() - _area(one, other)),
            "that is intersection over union, which treats both crops alike; divide by the area of the first one",
        ),
        Wrong(
            lambda one, other: _area(one, other) / other[2:].prod(),
            "that is the share of the second crop; divide by the area of the first one",
        ),
        Wrong(
            lambda one, other: _area(one, other) / torch.minimum(one[2:].prod(), other[2:].prod()),
            "you divide by the smaller area; a large first crop around a small second one is then always 1",
        ),
        Wrong(
            _area,
            "that is the number of pixels in both; divide by the pixels of the first crop",
        ),
        Wrong(
            lambda one, other: _area(one, other) / 32**2,
            "that is a share of the whole image; divide by the pixels of the first crop",
        ),
        Wrong(
            lambda one, other: 100 * _overlap(one, other),
            "give a share between 0 and 1, not per cent",
        ),
        Wrong(
            _overlap_of_corners,
            "the last two numbers are height and width, not the lower right corner: it lies at top + height, left + width",
        ),
        Wrong(
            lambda one, other: (_sides(one, other) + 1).clamp(min=0).prod() / one[2:].prod(),
            "one row and one column too many: top + height is already the row after the last",
        ),
        Wrong(
            lambda one, other: (_sides(one, other).clamp(min=0) / one[2:])[0],
            "that is the share of the rows; the columns count as well",
        ),
        Wrong(
            lambda one, other: (_sides(one, other).clamp(min=0) / one[2:]).mean(),
            "rows and columns are averaged; a pixel is shared if its row and its column are, so multiply",
        ),
    ),
    otherwise="Rows in both: from the larger top to the smaller top + height, 0 if that is negative. The same for columns. "
    "Their product, over height times width of the first crop",
)


# -- how often two crops share nothing


@cache
def _nothing_shared(low: float, high: float) -> float:
    """The share of pairs of random crops, of `low` to `high` of the area, that have no pixel in common."""
    crop = View(SIDE, scale=(low, high))
    one, other = Views((crop, crop), seed=0).parameters(0, torch.arange(PAIRS), SIDE, SIDE)
    ends = torch.minimum(one.boxes[:, :2] + one.boxes[:, 2:], other.boxes[:, :2] + other.boxes[:, 2:])
    sides = ends - torch.maximum(one.boxes[:, :2], other.boxes[:, :2])  # (B, 2)
    return float((sides.amin(1) <= 0).float().mean())


check_nothing_shared = Prediction(
    task="The share of pairs that have no pixel in common, if both crops show 5 to 10 % of the image: a number.",
    solved="nothing shared: right, more than half. Such crops teach that far parts of an image belong together",
    measure=lambda: _nothing_shared(0.05, 0.1),
    right=(0.636, 0.6, "0.65", 1 - (1 - ((1 - 2 * 0.27) / (1 - 0.27)) ** 2) ** 2),
    wrong=(
        Wrong(
            0.38,
            "close to the share of pairs that do overlap, and to what one direction alone gives. Two crops miss each "
            "other if they do so across or down: either is enough",
        ),
        Wrong(
            _nothing_shared(0.08, 1),
            "that is the answer for crops of 8 to 100 %, where most are large; these are small",
        ),
        Wrong(0.075, "that is the share of the image that one crop shows; how far apart can two such crops lie?"),
        Wrong(1.0, "less often: their sides are about a quarter of the image's, so they still meet now and then"),
        Wrong(0.0, "think of two crops with sides of about a quarter of the image's, dropped at random"),
        Wrong(64, "give a share between 0 and 1, not per cent"),
        Wrong(0.16, "apart in both directions at once is rare, but apart in one of them is enough"),
    ),
    otherwise="The side of such a crop is about 0.27 of the image's. Two intervals of length a in an interval of length 1 miss "
    "each other with probability ((1 - 2a) / (1 - a))^2; the crops overlap only if rows and columns both do",
    tolerance=0.12,
)


# -- a view of one's own

COLOUR, CONTOURS, CLASS = 0.06, 0.25, 0.20  # the most partners that may be found, the fewest classes named


@cache
def _found(view: View, by: Callable[[Tensor], Tensor]) -> float:
    return probes.shortcut((view, view), by)


_left = cache(probes.class_left)


def _view(scale: tuple[float, float] = (1, 1), **options: Any) -> Callable[[], View]:
    """An answer: a view that does nothing but what is given."""
    nothing: dict[str, Any] = {"flip": 0, "jitter_p": 0, "grey": 0, "blur": 0}
    if scale == (1, 1):
        nothing["ratio"] = (1, 1)
    view = View(32, scale=scale, **nothing | options)
    return lambda: view


_STRONG: dict[str, Any] = {"jitter_p": 1, "jitter": (0.4, 0.4, 0.4, 0.5)}

check_own_view = Open(
    task="`own_view()`: an `rl.View` of 32 pixels for both views of a pair. Among 256 pairs, a colour histogram finds at most 6 % of the "
    "partners and contours at most 25 %, and a linear map still names the class of 20 % of new scenes (chance: 10 %).",
    solved="own view: colour and contours no longer give the partner away, and the class can still be read",
    right=(
        _view((0.4, 1), flip=0.5, **_STRONG),
        _view((0.2, 1), flip=0.5, jitter_p=1, jitter=(0.8, 0.8, 0.8, 0.2)),
        _view((0.3, 1), flip=0.5, jitter_p=1, jitter=(0.6, 0.6, 0.6, 0.2)),
    ),
    rules=(
        Rule(
            lambda build: isinstance(view := build(), View) and view.size == 32,
            "return one view of 32 pixels, rl.View(32, ...); both views of a pair are made by it",
            (lambda: None, lambda: View(64), lambda: (View(32), View(32))),
        ),
        Rule(
            lambda build: _found(build(), probes.colour_histogram) <= COLOUR,
            "a colour histogram finds more than 6 % of the partners: change the colours more, and more often. Grey alone "
            "leaves the brightness, and a crop leaves the colours; brightness, contrast, saturation and hue all count",
            (
                _view(),
                _view((0.2, 1), flip=0.5),
                _view((0.2, 1), flip=0.5, jitter_p=0.8, jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2),
                _view((0.2, 1), grey=1),
            ),
        ),
        Rule(
            lambda build: _found(build(), probes.contours) <= CONTOURS,
            "contours find more than 25 % of the partners: they are nearly at the same place in both views. Show less "
            "of the image in each crop, and mirror it sometimes",
            (_view(**_STRONG), _view((0.6, 1), **_STRONG), _view(flip=0.5, **_STRONG)),
        ),
        Rule(
            lambda build: _left(build()) >= CLASS,
            "a linear map names the class of fewer than 20 % of the scenes: too much is lost. Are the crops too small to "
            "show what the image is? Or are the colours changed so much that the class, which they lean towards, goes with "
            "them (hue, solarisation, grey)?",
            (_view((0.08, 0.2), **_STRONG), _view((0.02, 0.05), flip=0.5, **_STRONG)),
        ),
    ),
)
