"""Lesson 11: intersection over union, a small box, a segmentation head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from ...evaluation.segmentation_metrics import iou
from ...transfer.heads import MLA, Naive
from .exercise import Fill, Open, Prediction, Rule, Wrong, values


def _matrices() -> list[tuple[Tensor]]:
    return [
        (torch.tensor([[5, 1, 0], [2, 3, 1], [0, 4, 6]]),),
        (torch.tensor([[40, 2], [10, 8]]),),
    ]


def _by_loop(matrix: Tensor) -> Tensor:
    found = []
    for c in range(len(matrix)):
        both = matrix[c, c].item()
        either = matrix[c].sum().item() + matrix[:, c].sum().item() - both
        found.append(both / either)
    return torch.tensor(found)


check_iou = Fill(
    task="`iou(matrix)`: a confusion matrix (classes, classes) of counted pixels, row: true class, column: predicted class "
    "-> (classes,), the intersection over union of each class.",
    solved="IoU: right for 2 confusion matrices",
    cases=_matrices,
    watch=values,
    right=(
        iou,
        _by_loop,
        lambda matrix: _by_loop(matrix).tolist(),
        lambda matrix: list(_by_loop(matrix)),
        lambda matrix: iou(matrix).numpy(),
        lambda matrix: matrix.diag() / (matrix.sum(0) + matrix.sum(1) - matrix.diag()),
    ),
    wrong=(
        Wrong(
            lambda matrix: matrix.diag() / matrix.sum(1),
            "that is the share of a class that was found; pixels wrongly given this class must count against it too",
        ),
        Wrong(
            lambda matrix: matrix.diag() / matrix.sum(0),
            "that is the share of the predictions of a class that are right; pixels of the class that were missed must count too",
        ),
        Wrong(
            lambda matrix: matrix.diag() / (matrix.sum(0) + matrix.sum(1)),
            "correct pixels are counted in their row and in their column: subtract them once from the sum",
        ),
        Wrong(
            lambda matrix: 2 * matrix.diag() / (matrix.sum(0) + matrix.sum(1)),
            "that is the Dice score; the union counts every pixel once",
        ),
        Wrong(
            lambda matrix: matrix.diag() // (matrix.sum(0) + matrix.sum(1) - matrix.diag()),
            "// rounds down to whole numbers; divide with /",
        ),
        Wrong(
            lambda matrix: matrix.diag().sum() / matrix.sum(),
            "that is the share of all pixels that are right, which the ground dominates: return one number for each class",
        ),
        Wrong(
            lambda matrix: iou(matrix).mean(),
            "that is already the mean; return one number for each class",
        ),
        Wrong(
            lambda matrix: matrix.diag() / matrix.sum(),
            "the union of a class is not all pixels: take its row and its column",
        ),
    ),
    otherwise="Intersection: the diagonal. Union: the row, plus the column, minus the diagonal, which is in both",
)


def _moved(side: float, shift: float) -> float:
    box = torch.tensor([[10.0, 10.0, 10 + side, 10 + side]])
    return float(box_iou(box, box + shift))


check_small_box = Prediction(
    task="A box of 4 by 4 pixels is found 1 pixel too far to the right and 1 pixel too low. Its IoU with the truth: a "
    "number.",
    solved="small box: right. One pixel costs a small object its match at 0.5",
    measure=lambda: _moved(4, 1),
    right=(9 / 23, Fraction(9, 23), torch.tensor(0.391), 0.391),
    wrong=(
        Wrong(9 / 16, "that is the share of the true box; divide by the union of both boxes"),
        Wrong(9 / 32, "the part that both share is counted twice: subtract it from the sum of the areas"),
        Wrong(_moved(16, 1), "that is the box of 16 pixels; the same pixel is a larger part of a small box"),
        Wrong(12 / 20, "the box is off in both directions, not in one"),
        Wrong(0.75, "that is the overlap along one side; the IoU is one of areas"),
        Wrong(9, "that is the area of the intersection, in pixels; divide it by that of the union"),
        Wrong(39.1, "give a share, not per cent"),
    ),
    otherwise="3 by 3 pixels are shared. Both boxes have 16. How many pixels do they cover together?",
)


# -- a segmentation head of one's own

WIDTHS, CLASSES, MOST = (96, 96, 96, 96), 11, 100_000
Build = Callable[[Sequence[int], int], nn.Module]


class _Concatenated(nn.Module):
    """A 1x1 convolution of all taps side by side."""

    def __init__(self, widths: Sequence[int], classes: int, taps: int = 4) -> None:
        super().__init__()
        self.taps, self.head = taps, nn.Conv2d(sum(widths[:taps]), classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.head(torch.cat(list(maps[: self.taps]), dim=1))
        return logits


class _Summed(nn.Module):
    """A 3x3 convolution for each tap, and their sum."""

    def __init__(self, widths: Sequence[int], classes: int, width: int | None = None) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(each, width or classes, 3, padding=1) for each in widths)
        self.last = nn.Conv2d(width, classes, 1) if width else nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = torch.stack([head(one) for head, one in zip(self.heads, maps, strict=True)])
        logits: Tensor = self.last(parts.sum(0))
        return logits


class _Altered(nn.Module):
    """A head that concatenates, with a function applied to its logits."""

    def __init__(self, widths: Sequence[int], classes: int, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.change = _Concatenated(widths, classes), change

    def forward(self, maps: Sequence[Tensor]) -> Any:
        return self.change(self.inner(maps))


def _maps(seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(2, width, 8, 8, generator=draw) for width in WIDTHS]


def _built(build: Build) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(WIDTHS, CLASSES)
    return module.eval() if isinstance(module, nn.Module) else module


def _shape(build: Build) -> bool:
    module = _built(build)
    logits = module(_maps()) if isinstance(module, nn.Module) else None
    return (
        isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[:2] == (2, CLASSES) and logits.shape[-1] >= 8
    )


def _learns(build: Build) -> bool:
    module = _built(build)
    logits = module(_maps())
    if not logits.requires_grad:
        return False
    logits.square().mean().backward()
    return all(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def _sees_places(build: Build) -> bool:
    module, maps = _built(build), _maps()
    moved = [one.clone() for one in maps]
    for one in moved:
        one[..., 0, 0] += 10
    with torch.no_grad():
        change = (module(moved) - module(maps)).abs().sum(1)  # (B, h, w)
    return bool((change[:, 0, 0] > 4 * change[:, -1, -1]).all())


def _reads_several(build: Build) -> bool:
    module, read = _built(build), 0
    with torch.no_grad():
        before = module(_maps())
        for index in range(len(WIDTHS)):
            changed = _maps()
            changed[index] = changed[index] + torch.randn(
                1, WIDTHS[index], 8, 8, generator=torch.Generator().manual_seed(9)
            )
            read += int(not torch.allclose(module(changed), before, atol=1e-5))
    return read >= 2


check_own_head = Open(
    task="`build(widths, classes)`: a module that maps the four taps, a list of (B, C, h, w), to logits (B, classes, h', w') "
    f"with h' >= h. It reads two taps or more, answers for each place, and has at most {MOST:,} parameters for a width of 96.",
    solved="own head: logits for every place, from several taps, with few parameters",
    right=(
        lambda widths, classes: MLA(widths, classes, 32, 4),
        _Concatenated,
        _Summed,
    ),
    rules=(
        Rule(
            _shape,
            "the module should return logits (B, classes, h', w'), with at least as many places as the taps have",
            (
                lambda widths, classes: None,
                lambda widths, classes: _Altered(widths, classes, lambda x: x.argmax(1)),
                lambda widths, classes: _Altered(widths, classes, lambda x: x.mean((2, 3))),
            ),
        ),
        Rule(
            _learns,
            "no gradient reaches some of the parameters, so they would not learn: is something detached, or never used?",
            (lambda widths, classes: _Altered(widths, classes, lambda x: x.detach()),),
        ),
        Rule(
            _sees_places,
            "every place gets nearly the same answer: a feature pooled over the image does not say where; keep the map",
            (
                lambda widths, classes: _Altered(
                    widths, classes, lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 8, 8)
                ),
            ),
        ),
        Rule(
            _reads_several,
            "only one tap changes the answer; read two or more, for example side by side or as a sum",
            (
                lambda widths, classes: Naive(widths, classes, 32),
                lambda widths, classes: _Concatenated(widths, classes, taps=1),
            ),
        ),
        Rule(
            lambda build: sum(p.numel() for p in _built(build).parameters()) <= MOST,
            f"the head has more than {MOST:,} parameters: it could learn the task by itself, and would say little "
            "about the encoder",
            (lambda widths, classes: _Summed(widths, classes, width=96),),
        ),
    ),
)
