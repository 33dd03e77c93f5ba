"""What every source provides: images with their labels, a part for training and a part for validation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..runtime.randomness import generator
from .files import FileImages
from .identity import fingerprint

LEAST_STD = 0.05  # of a channel in [0, 1]; keeps what the encoder reads within 20 if a channel is empty or constant


@dataclass(frozen=True)
class ImageSet:
    """`images` uint8 (n, 3, H, W), or files that read like it; `labels` int64 (n,) into `classes`, or None."""

    images: Tensor | FileImages
    labels: Tensor | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int | None, seed: int = 0) -> ImageSet:
        """`count` images drawn by `seed`, as evenly over classes as possible, in their old order; all if there are fewer."""
        if count is None or count >= len(self):
            return self
        labels = torch.zeros(len(self), dtype=torch.int64) if self.labels is None else self.labels
        chosen = choose(labels, count, seed)
        images = self.images.only(chosen.tolist()) if isinstance(self.images, FileImages) else self.images[chosen]
        return replace(self, images=images, labels=None if self.labels is None else labels[chosen])


@dataclass(frozen=True)
class Source:
    """The images of a scale.

    `mean`, `std`: of each colour in [0, 1], for normalisation. `skipped`: the number of unreadable files.
    `fingerprint`: changes if the images do. `labelled`: the images that k-NN and linear probe learn from: the training
    images, the labelled ones among them (STL-10), or None. `origin`: "drawn", "torchvision", or the training files, see
    `naming.origin_of`.
    """

    name: str
    train: ImageSet
    val: ImageSet | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: int
    fingerprint: str
    labelled: ImageSet | None = None
    origin: str = ""


def choose(labels: Tensor, count: int | None, seed: int) -> Tensor:
    """Indices int64 (count,) of a subset of `labels` (n,), as evenly over classes as possible, in their old order."""
    if count is None or count >= len(labels):
        return torch.arange(len(labels))
    shuffled = torch.randperm(len(labels), generator=generator(seed, "subset"))
    order = shuffled[labels[shuffled].argsort(stable=True)]
    ordered = labels[order]
    turn = torch.arange(len(order)) - torch.searchsorted(ordered, ordered)  # place within its class
    return order[turn.argsort(stable=True)[:count]].sort().values


def measure(images: Tensor | FileImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour in [0, 1], from up to 10,000 images, or 500 if they are in files.

    No standard deviation is below 0.05: dividing by that of an empty channel would blow up what augmentation puts there.
    """
    most = 500 if isinstance(images, FileImages) else 10_000
    chosen = torch.arange(len(images))
    if len(images) > most:
        chosen = torch.randperm(len(images), generator=generator(0, "measure"))[:most].sort().values
    counts = torch.zeros(3, 256, dtype=torch.int64)  # how often each value occurs: exact, and small
    for some in chosen.split(64):
        pixels = images[some].transpose(0, 1).flatten(1)  # uint8 (3, pixels)
        counts += torch.stack([torch.bincount(colour, minlength=256) for colour in pixels])
    values, number = torch.arange(256, dtype=torch.float64) / 255, counts[0].sum()
    mean = (counts * values).sum(1) / number
    variance = (counts * (values - mean[:, None]).square()).sum(1) / (number - 1)
    return tuple(mean.tolist()), tuple(variance.sqrt().clamp(min=LEAST_STD).tolist())


def fingerprint_of(train: ImageSet, val: ImageSet | None) -> str:
    """Changes if the images or labels do: tensors by all of their bytes, files as in `identity.fingerprint`.

    Files that cannot be read count as they are, whether they are left out or an error: a run may be resumed without them.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (train, val):
        if part is None:
            continue
        digest.update(f"{part.classes}".encode())
        if isinstance(part.images, FileImages):  # their names hold the labels
            digest.update(f"{fingerprint(part.images.listed)}/{part.images.decoding.levels}".encode())
        else:
            labels = None if part.labels is None else part.labels.tolist()
            digest.update(f"{tuple(part.images.shape)}/{labels}".encode())
            digest.update(part.images.contiguous().numpy().data)
    return digest.hexdigest()
