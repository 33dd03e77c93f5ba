"""How often the images of a set repeat: the contrastive loss pushes equal images apart, which teaches nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ..runtime.randomness import generator
from .files import FileImages
from .identity import content
from .image_set import ImageSet
from .reading import THREADS

MOST, MOST_FILES = 10_000, 2_000  # images that are compared; files must be opened for it


def repeats(part: ImageSet) -> dict[str, float]:
    """How many images of a set are equal, from a random sample of it.

    `sampled` images are compared, `distinct` of them differ. `copies` is the mean number of other images in the whole set
    that equal an image, 0 if all differ: the share of equal pairs, which the size of the sample does not change, times the
    number of other images. Tensors are compared by all of their bytes, files by their size and a few blocks.
    """
    images, count = part.images, len(part)
    files = isinstance(images, FileImages)
    rows = torch.randperm(count, generator=generator(0, "repeats"))[: MOST_FILES if files else MOST].tolist()
    if isinstance(images, FileImages):
        with ThreadPoolExecutor(THREADS) as pool:
            found = [*pool.map(_file, [images.paths[row] for row in rows])]
    else:
        found = [hashlib.blake2b(images[row].contiguous().numpy().data).digest() for row in rows]
    counts, n = Counter(found), len(found)
    pairs = sum(same * (same - 1) for same in counts.values())  # each is counted twice
    return {"sampled": n, "distinct": len(counts), "copies": round(pairs / max(1, n * (n - 1)) * (count - 1), 3)}


def _file(path: Path) -> bytes:
    """What identifies a file's contents; a file that cannot be opened counts as different from all others."""
    try:
        return f"{path.stat().st_size}/".encode() + content(path)
    except OSError:
        return str(path).encode("utf-8", "surrogateescape")
