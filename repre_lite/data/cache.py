"""A memory-mapped cache of decoded pictures: shorter side 256, uint8, one file, built once, resumable."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from ..runtime import files
from ..runtime.errors import UserError
from .reading import read_picture

SHORTER_SIDE = 256
CHUNK = 64  # pictures written and marked as done together
PIXELS, SIZES, DONE = "pixels.u8", "sizes.npy", "done.txt"


@dataclass(frozen=True)
class PictureCache:
    """`sizes` int64 (n, 2): height and width of each picture; `starts` (n,): its first byte in the file `pixels`."""

    pixels: Path
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def open(self) -> np.memmap:
        """The bytes; every process maps the file for itself."""
        return np.memmap(self.pixels, dtype=np.uint8, mode="r")

    def picture(self, pixels: np.ndarray, index: int) -> np.ndarray:
        """Picture `index` as uint8 (H, W, 3), a view into `pixels`."""
        height, width = self.sizes[index]
        start = self.starts[index]
        return pixels[start : start + height * width * 3].reshape(height, width, 3)


def scaled_size(width: int, height: int) -> tuple[int, int]:
    """(height, width) after the shorter side is brought down to 256; smaller pictures stay."""
    scale = min(1.0, SHORTER_SIDE / min(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def fingerprint(paths: Sequence[Path], root: Path) -> str:
    """Changes when a file is added, removed, renamed, rewritten, or the cache's form changes."""
    digest = hashlib.sha256(f"v1/{SHORTER_SIDE}".encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.relative_to(root)}/{status.st_size}/{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def build_cache(paths: Sequence[Path], root: Path, place: Path, workers: int, quiet: bool = False) -> PictureCache:
    """Decode `paths` (below `root`) once into a folder below `place` named after their fingerprint, in parallel.

    Says beforehand what it takes. A build that was killed goes on where it was and ends in the same bytes. Raises
    UserError for an unreadable picture, or where the disk cannot hold it.
    """
    folder = place / fingerprint(paths, root)
    sizes = _sizes(paths, folder, workers)
    bytes_each = sizes[:, 0] * sizes[:, 1] * 3
    starts = np.concatenate([[0], bytes_each.cumsum()[:-1]])
    total = int(bytes_each.sum())
    cache = PictureCache(folder / PIXELS, sizes, starts)
    chunks = [range(first, min(first + CHUNK, len(paths))) for first in range(0, len(paths), CHUNK)]
    done = _done(folder)
    todo = [number for number in range(len(chunks)) if number not in done]
    if not todo:
        return cache
    held = cache.pixels.stat().st_blocks * 512 if cache.pixels.exists() and hasattr(os.stat_result, "st_blocks") else 0
    free = shutil.disk_usage(folder).free + held
    if total > free:
        raise UserError(
            f"{folder}: the cache takes {total / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; make room, or use --images decode"
        )
    if not quiet:
        print(f"caching {len(paths)} pictures, {total / 1e9:.2f} GB, into {folder}", flush=True)
    with open(cache.pixels, "ab"):
        pass
    os.truncate(cache.pixels, total)
    jobs = [([str(paths[i]) for i in chunks[n]], sizes[chunks[n].start : chunks[n].stop], int(starts[chunks[n].start])) for n in todo]  # fmt: skip
    # spawned, so that a parent with threads (torch) cannot leave a child hanging
    with ProcessPoolExecutor(max(1, workers), mp_context=get_context("spawn")) as pool:
        results = pool.map(_write_chunk, *zip(*((str(cache.pixels), *job) for job in jobs), strict=True))
        bar = tqdm(zip(todo, results, strict=True), total=len(todo), desc="caching", unit="chunk", disable=quiet)
        with open(folder / DONE, "a") as marks:
            for number, error in bar:
                if error:
                    pool.shutdown(cancel_futures=True)
                    raise UserError(error)
                marks.write(f"{number}\n")
                marks.flush()
    return cache


def _done(folder: Path) -> set[int]:
    """Chunks that were written whole; a last line torn by a kill does not count."""
    try:
        lines = (folder / DONE).read_text().split("\n")[:-1]
    except FileNotFoundError:
        return set()
    return {int(line) for line in lines if line.isdigit()}


def _sizes(paths: Sequence[Path], folder: Path, workers: int) -> np.ndarray:
    """Every picture's size in the cache, from the files' headers, kept for the next time."""
    if (folder / SIZES).exists():
        return np.load(folder / SIZES, allow_pickle=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); use --images decode") from None
    found = [_header(path) for path in tqdm(paths, desc="reading sizes", unit="picture", leave=False, delay=2)]
    sizes = np.array(found, dtype=np.int64)
    with open(folder / (files.TEMPORARY + SIZES), "wb") as stream:
        np.save(stream, sizes)
    os.replace(folder / (files.TEMPORARY + SIZES), folder / SIZES)
    return sizes


def _header(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if picture.getexif().get(0x0112, 1) >= 5:  # lies on its side
                width, height = height, width
    except Exception as error:
        raise UserError(
            f"{path}: not a readable picture ({type(error).__name__}); mend or remove it, or use --skip-unreadable"
        ) from None
    return scaled_size(width, height)


def _write_chunk(pixels: str, paths: list[str], sizes: np.ndarray, start: int) -> str | None:
    """Decode, scale and write the pictures of one chunk at their place; the message of what went wrong, or None."""
    try:
        with open(pixels, "r+b") as stream:
            stream.seek(start)
            for path, (height, width) in zip(paths, sizes.tolist(), strict=True):
                picture = read_picture(Path(path))
                if picture.size != (width, height):
                    picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
                stream.write(np.asarray(picture).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{pixels}: cannot be written ({error.strerror}); make room, or use --images decode"
    return None
