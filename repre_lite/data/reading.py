"""Picture files of every kind as upright RGB, one by one or many in parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.progress import Progress

THREADS = min(32, os.cpu_count() or 1)  # that read pictures
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def list_images(folder: Path) -> list[Path]:
    """All picture files below `folder`, those of a folder in order of name before those of its subfolders.

    Links to folders are followed; hidden files and folders and other files are not looked at.
    """
    found: list[Path] = []

    def refused(error: OSError) -> None:
        raise UserError(f"--data {error.filename}: {error.strerror}; give a folder you may read")

    for place, folders, names in os.walk(folder, onerror=refused, followlinks=True):
        here = os.path.realpath(place) + os.sep
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _leads_up(here, name))
        pictures = (name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)
        found += [Path(place, name) for name in sorted(pictures) if not name.startswith(".")]
    return found


def _leads_up(here: str, name: str) -> bool:
    """Whether the folder `name` is a link to `here` or above it: following it would never end."""
    return here.startswith(os.path.realpath(here + name) + os.sep)


def to_rgb(picture: Image.Image) -> Image.Image:
    """Upright RGB: EXIF rotation applied, 16 bits scaled to 8, transparency laid over white, grey and CMYK converted."""
    picture.load()  # of the file that is still open
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float32)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        picture = Image.fromarray((values.clip(0, top) * (255 / top) + 0.5).astype(np.uint8))
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def read_image(path: Path) -> Image.Image:
    """The picture in a file as RGB. Raises UserError naming the file where it cannot be read."""
    try:
        with Image.open(path) as picture:
            return to_rgb(picture)
    except Exception as error:  # Pillow's plugins raise whatever they like on damaged files
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> UserError:
    """What to say when opening or decoding a picture raised `error`."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: not there any more; put it back, and the same command goes on")
    return UserError(
        f"{path}: not a readable picture ({type(error).__name__}); mend or remove it, or use --skip-unreadable"
    )


def square(picture: Image.Image, side: int) -> Image.Image:
    """Shorter side resized to `side` (antialiased bicubic), then the central side x side pixels."""
    return ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)


def read_squares(paths: Sequence[Path], side: int | None, skip_unreadable: bool, what: str) -> tuple[Tensor, list[int]]:
    """Pictures as uint8 (n, 3, side, side), and which of `paths` they are; unreadable ones end it or are left out.

    `side` None keeps pictures as they are, all of the size of the first.
    """

    def read(path: Path) -> np.ndarray | UserError:
        try:
            picture = read_image(path)
            return np.asarray(picture if side is None else square(picture, side)).transpose(2, 0, 1)
        except UserError as error:
            return error

    if side is None:
        height, width = read_image(paths[0]).size[::-1]
    else:
        height = width = side
    check_memory(len(paths), height, width)
    images = torch.empty(len(paths), 3, height, width, dtype=torch.uint8)
    kept: list[int] = []
    with (
        ThreadPoolExecutor(THREADS) as pool,
        Progress(len(paths), "image", what, delay=2, leave=False) as bar,
    ):
        for index, picture in enumerate(pool.map(read, paths)):
            bar.update()
            if isinstance(picture, UserError):
                if not skip_unreadable:
                    pool.shutdown(cancel_futures=True)
                    raise picture
                continue
            images[len(kept)] = torch.from_numpy(picture.copy())
            kept.append(index)
    return images[: len(kept)], kept


def readable(paths: Sequence[Path], what: str) -> list[int]:
    """Which of `paths` decode without an error; all are read."""

    def tried(index: int) -> bool:
        try:
            read_image(paths[index])
        except UserError:
            return False
        return True

    kept: list[int] = []
    with (
        ThreadPoolExecutor(THREADS) as pool,
        Progress(len(paths), "image", what, delay=2, leave=False) as bar,
    ):
        for start in range(0, len(paths), 1024):
            part = range(start, min(start + 1024, len(paths)))
            kept += [index for index, good in zip(part, pool.map(tried, part), strict=True) if good]
            bar.update(len(part))
    return kept


def check_memory(count: int, height: int, width: int) -> None:
    """Raise UserError where pictures kept as one tensor would take more than half of the memory there is."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    needed = count * 3 * height * width
    if needed > memory / 2:
        raise UserError(
            f"{count} pictures of {height}x{width} take {needed / 2**30:.1f} GiB, more than half of the memory here; use "
            "fewer with --train-images N, a smaller --image-size, or one above 96, at which pictures stay in their files"
        )


read_picture = read_image
