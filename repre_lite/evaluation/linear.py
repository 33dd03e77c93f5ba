"""A linear probe on cached features that needs no tuned learning rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import UserError
from .knn import check_labels

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
CURVATURE = 0.1  # of the cross-entropy by a logit, p (1 - p), at an even choice among ten classes
LEAST = 10  # training images: one is held out to choose the penalty
AT_ONCE = 2**26  # scores made at a time: those of all of ImageNet are five gigabytes, of which a step keeps several


def fit_linear(features: Tensor, labels: Tensor, classes: int, penalty: float, iterations: int = 200) -> nn.Linear:
    """Multinomial logistic regression by full-batch L-BFGS.

    Args:
        features: (B, C).
        labels: int64 (B,) in [0, classes).
        classes: outputs of the layer.
        penalty: factor of the sum of squared weights in the loss.
        iterations: the most L-BFGS steps.
    """
    # Features of an encoder are far from independent, and L-BFGS would need a thousand steps: it searches along axes on
    # which the loss is about equally curved in every direction.
    axes = _axes(features, penalty)  # (C, C)
    x = features @ axes  # (B, C)
    layer = nn.Linear(x.shape[1], classes, device=x.device, dtype=x.dtype)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")
    rows = max(1, AT_ONCE // classes)

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = x.new_zeros(())
        for part, own in zip(x.split(rows), labels.split(rows), strict=True):  # (b, C), (b,)
            squares = (layer.weight @ axes.T).square().sum()
            loss = len(own) / len(labels) * (F.cross_entropy(layer(part), own) + penalty * squares)
            loss.backward()
            total += loss.detach()
        return total

    optimiser.step(closure)
    with torch.no_grad():
        layer.weight.copy_(layer.weight @ axes.T)
    return layer


def _axes(features: Tensor, penalty: float) -> Tensor:
    """M, (C, C), for which features @ M has a loss about as curved in every direction: the root of the inverse Hessian of
    a softmax at CURVATURE."""
    x = features.cpu().double()  # on the CPU: Apple's GPUs know neither fp64 nor eigenvectors
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    curved = CURVATURE * values.clamp(min=0) + 2 * penalty
    axes: Tensor = vectors * curved.rsqrt()  # (C, C)
    return axes.to(features)


def _top1(layer: nn.Linear, features: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((layer(features).argmax(1) == labels).float().mean())


def linear_top1(
    train_features: Tensor, train_labels: Tensor, val_features: Tensor, val_labels: Tensor
) -> tuple[float, float]:
    """Top-1 accuracy in [0, 1] of a linear classifier on frozen features, and the penalty it was fitted with.

    Features (n, C) and (m, C) are standardised by the training ones. The penalty is chosen on a tenth of the training
    images, held out at random (always the same tenth); the validation images are used once, at the end. Raises
    UserError for fewer than 10 training images, and for features and labels of different numbers.
    """
    if len(train_features) < LEAST:
        raise UserError(
            f"a linear probe needs {LEAST} training images or more, got {len(train_features)}; use protocol='knn'"
        )
    check_labels(train_features, train_labels)
    check_labels(val_features, val_labels)
    mean, std = train_features.mean(0), train_features.std(0).clamp(min=1e-6)
    x, x_val = (train_features - mean) / std, (val_features - mean) / std
    y, y_val = train_labels.to(x.device), val_labels.to(x.device)
    classes = int(y.max()) + 1
    held = (torch.randperm(len(x), generator=torch.Generator().manual_seed(0)) % 10 == 9).to(x.device)
    scores = {p: _top1(fit_linear(x[~held], y[~held], classes, p), x[held], y[held]) for p in PENALTIES}
    penalty = max(scores, key=lambda p: (scores[p], p))
    return _top1(fit_linear(x, y, classes, penalty), x_val, y_val), penalty
