"""How well predicted classes of pixels match the truth: one confusion matrix over the whole set, and boundaries.

Written here because torchmetrics is no dependency and these are counts: tests compare them with a matrix counted pixel by
pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

BAND = 0.02  # of the image's diagonal: how far the boundary of a class reaches inwards (Cheng et al., CVPR 2021)


def confusion_matrix(truth: Tensor, prediction: Tensor, classes: int) -> Tensor:
    """Pixels by true class (row) and predicted class (column), int64 (classes, classes).

    `truth`, `prediction`: int64 of one shape; pixels with a truth outside of [0, classes), such as IGNORE, do not count.
    `prediction` lies in [0, classes).
    """
    counted = (truth >= 0) & (truth < classes)
    pairs = truth[counted] * classes + prediction[counted]  # (pixels,)
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class, float64 (classes,); NaN for a class that neither occurs nor is predicted."""
    matrix = matrix.cpu().double()
    right = matrix.diagonal()
    return right / (matrix.sum(0) + matrix.sum(1) - right)


def miou(matrix: Tensor, only: Tensor | None = None) -> float:
    """Mean of `iou` in [0, 1], without classes that neither occur nor are predicted; of the classes `only` (bool) if given.

    NaN if no class is left.
    """
    values = iou(matrix)
    return float((values if only is None else values[only.cpu()]).nanmean())


def mean_accuracy(matrix: Tensor) -> float:
    """Mean over classes of the share of a class's pixels that are predicted right, in [0, 1]; without absent classes."""
    matrix = matrix.cpu().double()
    return float((matrix.diagonal() / matrix.sum(1)).nanmean())


def band(labels: Tensor, width: int) -> Tensor:
    """Which pixels of `labels` (B, H, W) lie within `width` pixels of another label or of the image's edge, bool (B, H, W).

    Distance counts diagonal steps as one. This is the inner boundary of every class at once: a pixel belongs to that of
    its own class if a window around it is not all of one label.
    """
    padded = F.pad(labels[:, None].float(), (1, 1, 1, 1), value=-1.0)  # (B, 1, H+2, W+2); -1: past the edge
    highest, lowest = padded, -padded
    for window, pad in (((2 * width + 1, 1), (width, 0)), ((1, 2 * width + 1), (0, width))):  # a square, in two turns
        highest, lowest = (F.max_pool2d(x, window, 1, pad) for x in (highest, lowest))  # pads by minus infinity
    highest, lowest = highest[:, 0, 1:-1, 1:-1], -lowest[:, 0, 1:-1, 1:-1]  # (B, H, W)
    return highest != lowest


def boundary_counts(truth: Tensor, prediction: Tensor, classes: int) -> Tensor:
    """Intersection and union of the inner boundaries of each class, int64 (2, classes).

    Boundary IoU of Cheng et al. (CVPR 2021, equation 2): both masks are reduced to the pixels within 2 % of the image's
    diagonal of their contour; as in the published code, the image's edge is part of the contour. `truth`, `prediction`:
    int64 (B, H, W). Pixels to be ignored count nowhere, and their edge is part of the contour.
    """
    height, width = truth.shape[-2:]
    reach = max(1, round(BAND * (height**2 + width**2) ** 0.5))
    counted = (truth >= 0) & (truth < classes)
    in_truth, in_prediction = band(truth, reach) & counted, band(prediction, reach) & counted
    both = in_truth & in_prediction & (truth == prediction)
    hits, wanted, given = (
        torch.bincount(labels[where], minlength=classes)  # (classes,)
        for labels, where in ((truth, both), (truth, in_truth), (prediction, in_prediction))
    )
    return torch.stack([hits, wanted + given - hits])


class SegmentationScore:
    """Counts over a whole set of images, whatever their sizes, and the numbers made of them.

    `matrix` int64 (classes, classes) and `boundary` int64 (2, classes) are plain sums: to merge several processes, add
    them. `small`: bool (classes,), the classes of `miou_small`, see `small_classes`.
    """

    def __init__(self, classes: int, small: Tensor | None = None, device: torch.device | None = None) -> None:
        self.classes, self.small = classes, small
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.boundary = torch.zeros(2, classes, dtype=torch.int64, device=device)

    def add(self, truth: Tensor, prediction: Tensor) -> None:
        """Count images of one size: true and predicted classes, int64 (B, H, W) or (H, W)."""
        if truth.ndim == 2:
            truth, prediction = truth[None], prediction[None]
        self.matrix += confusion_matrix(truth, prediction, self.classes)
        self.boundary += boundary_counts(truth, prediction, self.classes)

    def results(self) -> dict[str, float | Sequence[float]]:
        """`miou`, `macc`, `boundary_iou`, `iou` (of each class) and, if there are small classes, `miou_small`; in [0, 1].

        NaN where nothing can be said.
        """
        hits, union = self.boundary.cpu().double()
        found: dict[str, float | Sequence[float]] = {
            "miou": miou(self.matrix),
            "macc": mean_accuracy(self.matrix),
            "boundary_iou": float((hits / union).nanmean()),
            "iou": iou(self.matrix).tolist(),
        }
        if self.small is not None and bool(self.small.any()):
            found["miou_small"] = miou(self.matrix, self.small)
        return found


def small_classes(shares: Tensor) -> Tensor:
    """Which classes are small, bool (classes,): those with less than half of an equal share of the pixels.

    `shares`: of each class in the training set, summing to 1 (`MaskSet.shares`). Absent classes are not small.
    """
    return (shares > 0) & (shares < 0.5 / len(shares))


def ceiling(counts: Tensor) -> float:
    """mIoU if every patch is given its most frequent class; `counts` as in `matrix_of`."""
    return miou(matrix_of(counts, counts[:, :-1].argmax(1)))


def matrix_of(counts: Tensor, predicted: Tensor) -> Tensor:
    """The confusion matrix of pixels, int64 (classes, classes), of patches with `counts` (n, classes + 1) whose pixels are
    all given the class `predicted` (n,)."""
    classes = counts.shape[1] - 1
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    matrix.index_add_(0, predicted, counts[:, :classes])  # row: predicted
    return matrix.T
