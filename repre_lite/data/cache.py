"""A memory-mapped cache of decoded images: shorter side 256, uint8, one file, built once in parallel, resumable."""

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
from ..runtime.progress import Progress, say
from ..runtime.text import plain_text
from .files import FileImages
from .identity import fingerprint
from .reading import Decoding, read_image, upright_size
from .workers import items

SHORTER_SIDE = 256
CHUNK = 64  # images that are written and marked as done together
PIXELS, SIZES, DONE = "pixels.u8", "sizes.npy", "done.u8"


@dataclass(frozen=True)
class ImageCache:
    """Decoded images of various sizes in one file.

    `pixels`: the file; `sizes` int64 (n, 2): height and width of each image; `starts` int64 (n + 1,): the position in
    bytes of each image, and the end of the last.
    """

    pixels: Path
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def open(self) -> Tensor:
        """All bytes as uint8 (bytes,), mapped, so that they are read when used; each process maps the file for itself."""
        return torch.from_file(str(self.pixels), shared=False, size=int(self.starts[-1]), dtype=torch.uint8)

    def image(self, pixels: Tensor, index: int) -> Tensor:
        """Image `index` as uint8 (H, W, 3), a view into `pixels`."""
        height, width = self.sizes[index].tolist()
        return pixels[int(self.starts[index]) : int(self.starts[index + 1])].view(height, width, 3)

    picture = image  # its former name


def cached(images: FileImages, workers: int) -> ImageCache:
    """The cache of `images` below $REPRE_LITE_CACHE or data/cache, built unless it is there.

    Of several processes the first of each machine builds, and the others wait for it.
    """
    folder = Path(os.environ.get("REPRE_LITE_CACHE") or "data/cache") / cache_name(images)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        workers *= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return build_cache(images.paths, folder, workers, images.decoding)
    while (cache := _held(folder, len(images))) is None or not _done(folder).all():
        time.sleep(1)
    return cache


def cache_name(images: FileImages) -> str:
    """The name of the cache of these files: it follows from where they are, what they hold and how they are decoded."""
    place = os.path.commonpath([os.path.abspath(path) for path in images.paths])
    identity = f"{SHORTER_SIDE}/{place}/{fingerprint(images.paths)}/{images.decoding.levels}"
    return hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]


def build_cache(paths: Sequence[Path], folder: Path, workers: int, decoding: Decoding | None = None) -> ImageCache:
    """Decode `paths` once into `folder`, in `workers` processes (0: in this one).

    First prints how much disk space it takes. A build that was killed resumes and ends in the same bytes. Raises UserError
    for an unreadable image, and if the disk is too small or read-only; a complete cache is only read.
    """
    headers = _Headers(paths, decoding or Decoding())
    try:
        cache = _held(folder, len(paths)) or _lay_out(folder, _sizes(headers, workers))
        done = np.repeat(_done(folder), CHUNK)[: len(paths)]  # (n,)
        todo = np.flatnonzero(_done(folder) == 0).tolist()
        if todo:
            _check_room(cache)
            _all(items(_Chunks(headers, cache), todo, workers), "caching", len(paths), int(done.sum()))
        return cache
    except OSError as error:
        raise _refused(folder, error) from None


def _held(folder: Path, count: int) -> ImageCache | None:
    """The cache in a folder, complete or not; None if none was begun, or files are missing."""
    if not (folder / SIZES).exists():
        return None
    sizes = np.load(folder / SIZES, allow_pickle=False)
    cache = ImageCache(folder / PIXELS, sizes, np.concatenate([[0], (sizes[:, 0] * sizes[:, 1] * 3).cumsum()]))
    files = ((folder / PIXELS, cache.starts[-1]), (folder / DONE, -(-count // CHUNK)))
    whole = len(sizes) == count and all(path.exists() and path.stat().st_size == size for path, size in files)
    return cache if whole else None


def _lay_out(folder: Path, sizes: np.ndarray) -> ImageCache:
    """Make an empty cache in one atomic step, since another run may be making the same one."""
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
    """One byte a chunk: 1 if it is written."""
    return np.fromfile(folder / DONE, dtype=np.uint8)


def _check_room(cache: ImageCache) -> None:
    """Print how much disk space the cache takes; UserError if there is less."""
    total = int(cache.starts[-1])
    missing = total - getattr(cache.pixels.stat(), "st_blocks", 0) * 512  # parts not written yet take no room
    free = shutil.disk_usage(cache.pixels.parent).free
    if missing > free:
        raise UserError(
            f"{plain_text(cache.pixels.parent)}: the cache needs another {missing / 1e9:.2f} GB, but only "
            f"{free / 1e9:.2f} GB are free; free space, set REPRE_LITE_CACHE to another folder, or use images=decode"
        )
    say(f"caching {len(cache)} images, {total / 1e9:.2f} GB, in {plain_text(cache.pixels.parent)}")


def _refused(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{plain_text(folder)}: cannot be written ({error.strerror or error}); free space, set REPRE_LITE_CACHE to another "
        "folder, or use images=decode"
    )


def _sizes(headers: _Headers, workers: int) -> np.ndarray:
    """Every image's height and width in the cache, from the files' headers, int64 (n, 2)."""
    count = len(headers.names)
    parts = _all(items(headers, range(-(-count // CHUNK)), workers), "reading sizes", count)
    return torch.cat(parts).numpy()


def _all(parts: Iterable[Tensor], what: str, total: int, done: int = 0) -> list[Tensor]:
    """All parts, (m, 2) each, with a bar that counts images."""
    made = []
    with Progress(total, "image", what, initial=done, delay=1) as bar:
        for part in parts:
            made.append(part)
            bar.update(len(part))
    return made


class _Headers(Dataset[Tensor]):
    """Item number c: the sizes of the images of that chunk, int64 (m, 2)."""

    def __init__(self, paths: Sequence[Path], decoding: Decoding) -> None:
        # one array of names, which processes receive faster than a list of paths
        self.names, self.chunk, self.decoding = np.array([*map(os.fsencode, paths)]), CHUNK, decoding

    def part(self, number: int) -> tuple[slice, list[Path]]:
        """The place of a chunk's images, and their files."""
        part = slice(number * self.chunk, (number + 1) * self.chunk)
        return part, [Path(os.fsdecode(name)) for name in self.names[part]]

    def __getitem__(self, number: int) -> Tensor:
        return torch.tensor([scaled_size(path, self.decoding) for path in self.part(number)[1]])  # (m, 2)


class _Chunks(Dataset[Tensor]):
    """Item number c, the same sizes; asking for it writes the images of that chunk at their place in the cache."""

    def __init__(self, headers: _Headers, cache: ImageCache) -> None:
        self.headers, self.cache = headers, cache

    def __getitem__(self, number: int) -> Tensor:
        part, paths = self.headers.part(number)
        sizes = self.cache.sizes[part]  # (m, 2)
        images = [
            scaled(read_image(path, self.headers.decoding), *size)
            for path, size in zip(paths, sizes.tolist(), strict=True)
        ]
        pixels = b"".join(image.tobytes() for image in images)
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


def scaled_size(path: Path, decoding: Decoding | None = None) -> tuple[int, int]:
    """Height and width of an image file once its shorter side is scaled down to 256; smaller images keep their size."""
    height, width = upright_size(path, decoding)
    scale = min(1.0, SHORTER_SIDE / min(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def scaled(image: Image.Image, height: int, width: int) -> Image.Image:
    """`image` at the given size, resized (bicubic) if it has another."""
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
