"""A memory-mapped cache of decoded pictures: shorter side 256, uint8, one file, built once in parallel, resumable."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..runtime.errors import UserError
from ..runtime.files import TEMPORARY
from ..runtime.progress import Progress
from .reading import read_image, unreadable
from .workers import items

SHORTER_SIDE = 256
CHUNK = 64  # pictures that are written and marked as done together
PIXELS, SIZES, DONE = "pixels.u8", "sizes.npy", "done.u8"


@dataclass(frozen=True)
class ImageCache:
    """`sizes` int64 (n, 2): height and width of each picture; `starts` (n + 1,): where each begins in the file `pixels`,
    and where the last one ends."""

    pixels: Path
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def open(self) -> Tensor:
        """All bytes, mapped, and read when they are looked at; every process opens the file for itself."""
        return torch.from_file(str(self.pixels), shared=False, size=int(self.starts[-1]), dtype=torch.uint8)

    def image(self, pixels: Tensor, index: int) -> Tensor:
        """Picture `index` as uint8 (H, W, 3), a view into `pixels`."""
        height, width = self.sizes[index].tolist()
        return pixels[int(self.starts[index]) : int(self.starts[index + 1])].view(height, width, 3)

    picture = image


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes when a file is added, removed, renamed or rewritten, not when the whole folder moves."""
    digest = hashlib.sha256(f"1/{SHORTER_SIDE}".encode())
    beginning = len(os.path.commonpath(paths))
    for path in map(os.fspath, paths):
        status = os.stat(path)
        digest.update(os.fsencode(f"{path[beginning:]}/{status.st_size}/{status.st_mtime_ns}\n"))
    return digest.hexdigest()[:16]


def cached(paths: Sequence[Path], workers: int) -> ImageCache:
    """The cache of `paths` below $REPRE_LITE_CACHE or data/cache, built where it is not there yet.

    Of several processes the first of each machine builds, and the others wait for it.
    """
    folder = Path(os.environ.get("REPRE_LITE_CACHE") or "data/cache") / fingerprint(paths)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        return build_cache(paths, folder, workers * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    while (cache := _held(folder, len(paths))) is None or not _done(folder).all():
        time.sleep(1)
    return cache


def build_cache(paths: Sequence[Path], folder: Path, workers: int) -> ImageCache:
    """Decode `paths` once into `folder`, in `workers` processes (0: in this one).

    Says beforehand what it takes. A build that was killed goes on where it was and ends in the same bytes. Raises
    UserError for an unreadable picture, and where the disk cannot hold the cache or refuses it.
    """
    try:
        cache = _held(folder, len(paths)) or _lay_out(folder, _sizes(paths, workers))
        done = np.repeat(_done(folder), CHUNK)[: len(paths)]  # (n,)
        todo = np.flatnonzero(_done(folder) == 0).tolist()
        if todo:
            _check_room(cache)
            _all(items(_Chunks(paths, cache), todo, workers), "caching", len(paths), int(done.sum()))
        return cache
    except OSError as error:
        raise _refused(folder, error) from None


def _held(folder: Path, count: int) -> ImageCache | None:
    """The cache in a folder, whole or not; None where none was begun, or parts of it were removed."""
    if not (folder / SIZES).exists():
        return None
    sizes = np.load(folder / SIZES, allow_pickle=False)
    cache = ImageCache(folder / PIXELS, sizes, np.concatenate([[0], (sizes[:, 0] * sizes[:, 1] * 3).cumsum()]))
    files = ((folder / PIXELS, cache.starts[-1]), (folder / DONE, -(-count // CHUNK)))
    whole = len(sizes) == count and all(path.exists() and path.stat().st_size == size for path, size in files)
    return cache if whole else None


def _lay_out(folder: Path, sizes: np.ndarray) -> ImageCache:
    """Make an empty cache, whole or not at all: another run may be about to make the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
    try:
        np.save(made / SIZES, sizes)
        (made / DONE).write_bytes(bytes(-(-len(sizes) // CHUNK)))
        with open(made / PIXELS, "wb") as stream:
            stream.truncate(int((sizes[:, 0] * sizes[:, 1] * 3).sum()))
        if _held(folder, len(sizes)) is None:
            shutil.rmtree(folder, ignore_errors=True)
            made.chmod(0o755)
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    cache = _held(folder, len(sizes))
    assert cache is not None
    return cache


def _done(folder: Path) -> np.ndarray:
    """A byte for every chunk: 1 where it was written whole."""
    return np.fromfile(folder / DONE, dtype=np.uint8)


def _check_room(cache: ImageCache) -> None:
    """Say what the cache takes; UserError where the rest of it is more than is free."""
    total = int(cache.starts[-1])
    missing = total - getattr(cache.pixels.stat(), "st_blocks", 0) * 512  # the file has holes where nothing was written
    free = shutil.disk_usage(cache.pixels.parent).free
    if missing > free:
        raise UserError(
            f"{cache.pixels.parent}: the cache takes another {missing / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; make "
            "room, set REPRE_LITE_CACHE to another folder, or use --images decode"
        )
    print(f"caching {len(cache)} pictures, {total / 1e9:.2f} GB, in {cache.pixels.parent}", flush=True)


def _refused(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{folder}: cannot be written ({error.strerror or error}); make room, set REPRE_LITE_CACHE to another folder, or use "
        "--images decode"
    )


def _sizes(paths: Sequence[Path], workers: int) -> np.ndarray:
    """Every picture's height and width in the cache, from the files' headers, int64 (n, 2)."""
    parts = _all(items(_Headers(paths), range(-(-len(paths) // CHUNK)), workers), "reading sizes", len(paths))
    return torch.cat(parts).numpy()


def _all(parts: Iterable[Tensor], what: str, total: int, done: int = 0) -> list[Tensor]:
    """All parts, (m, 2) each, under a bar that counts pictures."""
    made = []
    with Progress(total, "image", what, initial=done, delay=1) as bar:
        for part in parts:
            made.append(part)
            bar.update(len(part))
    return made


class _Headers(Dataset):
    """Item number c: the sizes of the pictures of that chunk, int64 (m, 2)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.names, self.chunk = np.array([*map(os.fsencode, paths)]), CHUNK

    def part(self, number: int) -> tuple[slice, list[Path]]:
        """Where the pictures of a chunk stand, and their files."""
        part = slice(number * self.chunk, (number + 1) * self.chunk)
        return part, [Path(os.fsdecode(name)) for name in self.names[part]]

    def __getitem__(self, number: int) -> Tensor:
        return torch.tensor([scaled_size(path) for path in self.part(number)[1]])


class _Chunks(_Headers):
    """Asking for item number c writes the pictures of that chunk at their place in the cache."""

    def __init__(self, paths: Sequence[Path], cache: ImageCache) -> None:
        super().__init__(paths)
        self.cache = cache

    def __getitem__(self, number: int) -> Tensor:
        part, paths = self.part(number)
        sizes = self.cache.sizes[part]
        pictures = [scaled(read_image(path), *size) for path, size in zip(paths, sizes.tolist(), strict=True)]
        pixels = b"".join(picture.tobytes() for picture in pictures)
        try:
            with open(self.cache.pixels, "r+b") as stream:
                stream.seek(int(self.cache.starts[part.start]))
                stream.write(pixels)
                stream.flush()
                os.fsync(stream.fileno())
            with open(self.cache.pixels.with_name(DONE), "r+b") as stream:  # one byte, which no kill can tear
                stream.seek(number)
                stream.write(b"\1")
        except OSError as error:
            raise _refused(self.cache.pixels.parent, error) from None
        return torch.from_numpy(sizes)


def scaled_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture file after its shorter side is brought down to 256; smaller ones stay."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if picture.getexif().get(0x0112, 1) >= 5:  # lies on its side
                width, height = height, width
    except Exception as error:
        raise unreadable(path, error) from None
    scale = min(1.0, SHORTER_SIDE / min(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def scaled(picture: Image.Image, height: int, width: int) -> Image.Image:
    return picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BICUBIC)
