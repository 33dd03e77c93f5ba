"""The protocols of `evaluate` by name, each beside its controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..runtime.progress import say
from .diversity import score_diversity, table
from .score import evaluated_on, score_encoder
from .source import EncoderSource


def run_protocols(
    read: EncoderSource,
    protocols: Sequence[str],
    device: torch.device,
    scale: str | None = None,
    data: str | None = None,
    train_images: int | None = None,
    blocks: int | None = None,
) -> dict[str, Any]:
    """Measure an encoder by `protocols`, print what is found, and return it as entries of summary.json.

    `scale`, `data`, `train_images`: the images, see `EncoderSource.images`; of a tree of images and masks those in
    images/. `blocks`: see `score_encoder`. Raises UserError if the images do not allow what is asked.
    """
    results: dict[str, Any] = {}
    untrained = None if read.random else read.untrained()
    if data is not None and (Path(data) / "images").is_dir() and (Path(data) / "labels").is_dir():
        scale, data = scale or "folder", str(Path(data) / "images")
    images = read.images(scale, data, train_images)
    accuracies = [name for name in protocols if name in ("knn", "linear")]
    if accuracies:
        found = score_encoder(read.encoder, untrained, images, accuracies, device, read.mean, read.std, blocks)
        for name, value in found.items():
            say(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")
        if found:
            results |= {"linear_blocks": None, "evaluated_on": evaluated_on(images)} | found
    if "diversity" in protocols:
        shown = images.val or images.train
        found = score_diversity(read.encoder, untrained, shown, device, read.mean, read.std)
        say(table(found, read.encoder.tap_indices))
        results |= found
    return results
