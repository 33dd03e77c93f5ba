"""Each protocol beside its controls: the encoder, its untrained self, raw pixels."""

from __future__ import annotations

from typing import Any

import torch

from ..data.image_set import Source
from ..encoder import TappedEncoder
from .features import extract_shared
from .knn import knn_top1, pixel_features
from .linear import linear_top1


def score(
    encoder: TappedEncoder,
    untrained: TappedEncoder,
    pictures: Source,
    protocols: list[str],
    device: torch.device,
    mean: Any,
    std: Any,
) -> dict[str, float]:
    """Accuracies in [0, 1] of an encoder and of its untrained self; empty, with a line, without labelled pictures."""
    train_set, val_set = pictures.labelled, pictures.val
    if train_set is None or val_set is None or train_set.labels is None or val_set.labels is None:
        print("no labelled val/ pictures, so k-NN and linear probe are skipped")
        return {}
    results = {}
    for suffix, network in (("", encoder), ("_untrained", untrained)):
        network = network.to(device)
        x, x_val = (extract_shared(network, p.images, mean, std) for p in (train_set, val_set))
        if "knn" in protocols:
            results[f"knn_top1{suffix}"] = knn_top1(x, train_set.labels, x_val, val_set.labels)
        if "linear" in protocols:
            results[f"linear_top1{suffix}"], _ = linear_top1(x, train_set.labels, x_val, val_set.labels)
    pixels, pixels_val = train_set.images, val_set.images
    if "knn" in protocols and isinstance(pixels, torch.Tensor) and isinstance(pixels_val, torch.Tensor):
        x, x_val = pixel_features(pixels), pixel_features(pixels_val)
        results["knn_top1_pixels"] = knn_top1(x, train_set.labels, x_val, val_set.labels)
    return results
