"""The names of data sets in results: CIFAR-10 saved as JPEG files is a different data set from CIFAR-10."""

from __future__ import annotations

import functools
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..runtime.text import plain_text

EXACT = ("cifar10", "cifar100", "stl10")  # published as the pixels themselves
JPEG = re.compile(r"\.(jpe?g|jpe|jfif)\b")
SAMPLED = 50  # files whose quality is read, evenly spread


def origin_of(scale: str, paths: Sequence[Path]) -> str:
    """Training files counted by suffix, such as "files: .jpg 12"; "cifar10-jpeg75: .jpg 12" if that is another data set."""
    counts = Counter(path.suffix.lower() for path in paths)
    listed = ", ".join(f"{plain_text(suffix)} {count:,}" for suffix, count in counts.most_common())
    if scale in EXACT and JPEG.search(listed):
        return f"{scale}-jpeg{jpeg_quality(paths) or ''}: {listed}"
    return f"files: {listed}"


def named(scale: str, origin: str | None) -> str:
    """What to call the images of `scale`, whose `origin` (see `Source`) may be unknown: "cifar10-jpeg75", or the scale."""
    kind, _, listed = (origin or "").partition(": ")
    if scale in EXACT and JPEG.search(listed):
        return kind if kind.startswith(scale) else f"{scale}-jpeg"
    return scale


def jpeg_quality(paths: Sequence[Path]) -> int | None:
    """The quality, from 1 to 100, with which libjpeg wrote all of the files in `paths` that are looked at; else None."""
    found = {_quality(path) for path in paths[:: -(-len(paths) // SAMPLED) or 1]}
    return found.pop() if len(found) == 1 else None


def _quality(path: Path) -> int | None:
    try:
        with Image.open(path) as image:
            return _tables().get(_table(image))
    except Exception:  # reading will report it, or leave it out
        return None


@functools.cache
def _tables() -> dict[tuple[int, ...], int]:
    """Each quality by its quantisation table."""
    found = {}
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("L", (8, 8)).save(stream, "jpeg", quality=quality)
        found[_table(Image.open(stream))] = quality
    return found


def _table(image: Image.Image) -> tuple[int, ...]:
    return tuple(getattr(image, "quantization", {}).get(0, ()))
