"""Which files of a folder are images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from ..runtime.errors import UserError
from ..runtime.progress import say
from ..runtime.text import plain_text

# Pillow recognises these formats and does not decode them, or only with another program
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


@dataclass(frozen=True)
class Listing:
    """The image files below a folder in order, and how many other files there are, by suffix."""

    paths: list[Path]
    left_out: Counter[str]


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of the formats that Pillow decodes, in lower case; installed Pillow plugins count."""
    found = Image.registered_extensions()
    return frozenset(suffix for suffix, name in found.items() if name in Image.OPEN and name not in NOT_DECODED) | {
        ".mpo"  # which Pillow opens as JPEG
    }


def list_images(folder: Path) -> list[Path]:
    """All image files below `folder`: the files of a folder in order of name, then its subfolders in order of name.

    Links to folders are followed, except those that lead back to a folder above them. Hidden files and folders are
    ignored. Raises UserError for a folder that cannot be read.
    """
    return listing(folder).paths


def listing(folder: Path) -> Listing:
    """As `list_images`, with a count of the files that are left out."""
    paths: list[Path] = []
    left_out: Counter[str] = Counter()
    for entry, kind in _walk(folder, ()):
        suffix = os.path.splitext(entry.name)[1].lower()
        if kind == "file" and suffix in suffixes():
            paths.append(Path(entry.path))
        else:
            left_out[(suffix or "without a suffix") if kind == "file" else kind] += 1
    return Listing(paths, left_out)


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """All entries below `folder` but folders, each with its kind; `above` holds the real paths of the folders above."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as entries:
            shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"data={plain_text(folder)}: {error.strerror}; give a folder you may read") from None
    kinds = [(entry, _kind(entry)) for entry in shown]
    yield from ((entry, kind) for entry, kind in kinds if kind != "folder")
    for entry, kind in kinds:
        if kind == "folder":
            yield from _walk(Path(entry.path), (*above, here))


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself
        return "dangling link"
    # reading from a pipe or a device may wait for ever
    return "dangling link" if entry.is_symlink() else "special file"


@cache
def say_once(line: str) -> None:
    """Print a line the first time it is given, in the main process only."""
    say(line)
