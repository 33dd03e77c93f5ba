"""What every source hands over: pictures with their labels, a part to train on and a part to validate on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..runtime.randomness import generator
from .cache import fingerprint
from .files import FileImages


@dataclass(frozen=True)
class ImageSet:
    """`images` uint8 (n, 3, H, W), or files that read like it; `labels` int64 (n,) into `classes`, or None."""

    images: Tensor | FileImages
    labels: Tensor | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int | None, seed: int = 0) -> ImageSet:
        """`count` of them, as even over classes as they allow, in their old order; itself where there are no more."""
        if count is None or count >= len(self):
            return self
        labels = torch.zeros(len(self), dtype=torch.int64) if self.labels is None else self.labels
        chosen = choose(labels, count, seed)
        images = self.images.only(chosen.tolist()) if isinstance(self.images, FileImages) else self.images[chosen]
        return replace(self, images=images, labels=None if self.labels is None else labels[chosen])


@dataclass(frozen=True)
class Source:
    """Training and validation pictures, what they are normalised with (in [0, 1]), how many files were unreadable, and
    a `fingerprint` that changes when the pictures do. `labelled` are those k-NN and linear probe learn from: the
    training pictures, or the labelled ones among them (STL-10), or None."""

    name: str
    train: ImageSet
    val: ImageSet | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: int
    fingerprint: str
    labelled: ImageSet | None = None


def choose(labels: Tensor, count: int | None, seed: int) -> Tensor:
    """Indices of a subset of `count`, as even over classes as they allow, in their old order."""
    if count is None or count >= len(labels):
        return torch.arange(len(labels))
    shuffled = torch.randperm(len(labels), generator=generator(seed, "subset"))
    order = shuffled[labels[shuffled].argsort(stable=True)]
    ordered = labels[order]
    turn = torch.arange(len(order)) - torch.searchsorted(ordered, ordered)  # place within its class
    return order[turn.argsort(stable=True)[:count]].sort().values


def measure(images: Tensor | FileImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour in [0, 1] over up to 10,000 pictures, 500 of those in files."""
    most = 500 if isinstance(images, FileImages) else 10_000
    x = images[:: max(1, len(images) // most)].transpose(0, 1).flatten(1).double() / 255  # (3, ...)
    return tuple(x.mean(1).tolist()), tuple(x.std(1).clamp(min=1e-3).tolist())


def fingerprint_of(train: ImageSet, val: ImageSet | None) -> str:
    """Changes when the pictures do: files by name, size and time, tensors by a sample of their bytes."""
    digest = hashlib.sha256()
    for part in (train, val):
        if part is not None and isinstance(part.images, FileImages):
            digest.update(fingerprint(part.images.paths).encode())
        elif part is not None:
            digest.update(f"{tuple(part.images.shape)}/{part.classes}".encode())
            digest.update(part.images[:: max(1, len(part) // 64)].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
