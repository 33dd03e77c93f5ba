"""The k-nearest-neighbour classifier of Wu et al. (2018), as used by DINO: no training, no learning rate to tune."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.errors import UserError


def knn_top1(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> float:
    """Top-1 accuracy in [0, 1] of a vote among the `k` nearest training images, weighted by exp(cosine / T).

    Args:
        train_features, val_features: (n, C) and (m, C), of any length; cosines are compared.
        train_labels, val_labels: int64 (n,) and (m,).
        k: neighbours; all n if there are fewer.
        temperature: T.
        chunk: validation images compared at a time; bounds memory, changes nothing.

    Raises UserError for features and labels of different numbers, and for `k` below 1.
    """
    check_labels(val_features, val_labels)
    predicted = knn_predict(train_features, train_labels, val_features, k, temperature, chunk)
    return int((predicted == val_labels.to(predicted.device)).sum()) / len(val_labels)


@torch.no_grad()
def knn_predict(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Tensor:
    """The class of each of `val_features` by the same vote, int64 (m,). Arguments as for `knn_top1`."""
    check_labels(train_features, train_labels)
    if k < 1:
        raise UserError(f"k={k}: give a number of neighbours, 1 or more")
    bank = F.normalize(train_features, dim=1).T  # (C, n)
    labels = train_labels.to(bank.device)
    classes = int(labels.max()) + 1
    k = min(k, len(labels))
    predicted = []
    for part in val_features.split(chunk):
        similarity, nearest = (F.normalize(part, dim=1) @ bank).topk(k, dim=1)  # (B, k) each
        votes = torch.zeros(len(part), classes, device=bank.device, dtype=bank.dtype)
        share = (
            (similarity - similarity[:, :1]) / temperature
        ).exp()  # relative to the nearest, or a low T would overflow
        votes.scatter_add_(1, labels[nearest], share)  # (B, classes)
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


def check_labels(features: Tensor, labels: Tensor) -> None:
    """Raise UserError unless `features` (n, C) have one of `labels` (n,) each."""
    if labels.shape != features.shape[:1]:
        raise UserError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)}: give one label per feature"
        )


def pixel_features(images: Tensor) -> Tensor:
    """Raw pixels as features, (B, 3*H*W), each image's mean removed: the control that needs no encoder."""
    pixels = images.flatten(1).float() / 255
    return pixels - pixels.mean(1, keepdim=True)
