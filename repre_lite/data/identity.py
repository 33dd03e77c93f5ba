"""What tells one set of image files from another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .reading import THREADS

SAMPLED = 10_000  # files of which bytes are compared; of the others name, size and time
BLOCK = 4096  # bytes read at the beginning, in the middle and at the end of a file


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes if a file is added, removed, renamed or rewritten, not if the whole folder moves.

    It depends on the names below the common folder, sizes, modification times and, since programs may set the same time
    for all files, a few blocks of bytes of up to 10,000 files.
    """
    digest = hashlib.sha256()
    beginning = len(os.path.commonpath(paths)) if paths else 0
    for path in map(os.fspath, paths):
        status = os.stat(path)
        digest.update(os.fsencode(f"{path[beginning:]}/{status.st_size}/{status.st_mtime_ns}\n"))
    with ThreadPoolExecutor(THREADS) as pool:
        for sample in pool.map(content, paths[:: -(-len(paths) // SAMPLED) or 1]):
            digest.update(sample)
    return digest.hexdigest()[:16]


def content(path: Path) -> bytes:
    """A hash of a file's blocks, or of the reason why it cannot be opened, which reading will report."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            for start in (0, size // 2, size - BLOCK) if size > BLOCK else (0,):
                stream.seek(max(0, start))
                digest.update(stream.read(BLOCK))
    except OSError as error:
        digest.update(str(error.strerror).encode())
    return digest.digest()
