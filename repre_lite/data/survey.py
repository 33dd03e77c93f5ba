"""A look at the files of a folder before they are read: which values are black and white in images of more than 8 bits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ..runtime.errors import UserError
from ..runtime.text import plain_text
from .levels import Levels, Range, is_deep, range_of
from .listing import say_once
from .reading import DARK, THREADS, Decoding, is_halved, opened, read_image, too_dark

EIGHT_BITS = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".webp", ".bmp"}  # never hold more
HEADERS, DECODED = 1000, 256  # files that are looked at, evenly spaced; values outside the range of these are clipped

T = TypeVar("T")


def folder_levels(paths: Sequence[Path], max_pixels: int | None = None) -> Levels:
    """The levels of the images in `paths`, from the headers of up to 1,000 and the pixels of up to 256 deep ones.

    Raises UserError for 16-bit colour that Pillow, which keeps the upper 8 bits, would make almost black.
    """
    decoding = Decoding(Levels(), max_pixels)
    with ThreadPoolExecutor(THREADS) as pool:
        looked_at = _spread([path for path in paths if path.suffix.lower() not in EIGHT_BITS], HEADERS)
        kinds = dict(zip(looked_at, pool.map(lambda path: _kind(path, decoding), looked_at), strict=True))
        deep = _spread([path for path in looked_at if kinds[path] == "deep"], DECODED)
        ranges = [found for found in pool.map(lambda path: _range(path, decoding), deep) if found is not None]
    halved = _spread([path for path in looked_at if kinds[path] == "halved"], DECODED)
    if halved and not any(_brightest(path, decoding) >= DARK for path in halved):
        raise too_dark(halved[0])
    levels = Levels.of(ranges)
    for kind, ends in (("integer", levels.whole), ("floating-point", levels.floating)):
        if any((mode == "F") is (kind == "floating-point") for mode, _ in ranges):
            low, high = ends
            folder = plain_text(os.path.commonpath([path.parent for path in paths]))
            say_once(f"{folder}: {kind} images; values {low:g} to {high:g} are scaled to 0 to 255")
    return levels


def _spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Up to `count` items, evenly spaced."""
    return items[:: -(-len(items) // count) or 1]


def _kind(path: Path, decoding: Decoding) -> str:
    def kind(image: Image.Image) -> str:
        return "deep" if is_deep(image) else "halved" if is_halved(image) else ""

    try:
        return opened(path, decoding, kind)
    except UserError:  # reading will report it, or leave it out
        return ""


def _range(path: Path, decoding: Decoding) -> tuple[str, Range] | None:
    try:
        return opened(path, decoding, lambda image: (image.mode, range_of(image)))
    except UserError:
        return None


def _brightest(path: Path, decoding: Decoding) -> int:
    try:
        return int(np.asarray(read_image(path, decoding)).max(initial=0))
    except UserError:
        return 0
