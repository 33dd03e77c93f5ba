"""An image file of any kind as upright RGB."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..runtime.errors import UserError
from ..runtime.text import plain_text
from .levels import Levels, is_deep, range_of
from .metadata import without_metadata

ORIENTATION = 0x0112  # the EXIF and TIFF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # width and height change places
PILLOW_LIMIT = 2 * (Image.MAX_IMAGE_PIXELS or 2**62)  # pixels beyond which Pillow refuses an image: 178,956,970
DARK = 64  # a folder of 16-bit colour whose upper 8 bits stay below this was not scaled to 16 bits

THREADS = min(32, os.cpu_count() or 1)  # that read files

T = TypeVar("T")


@dataclass(frozen=True)
class Decoding:
    """How the files of one folder are decoded.

    `levels`: black and white of images of more than 8 bits; None takes them from each file, which suits a single one.
    `max_pixels`: width times height up to which an image is read; None is Pillow's own limit, 178,956,970.
    """

    levels: Levels | None = None
    max_pixels: int | None = None


def read_image(path: Path, decoding: Decoding | None = None) -> Image.Image:
    """The image in a file, upright and RGB: the first frame if there are several.

    Raises UserError naming the file and the reason if it cannot be read.
    """
    decoding = decoding or Decoding()

    def decode(image: Image.Image) -> Image.Image:
        if is_scrambled(image):
            raise UserError(
                f"{plain_text(path)}: 16-bit colour in separate planes, which Pillow misreads; save it as RGB"
            )
        halved = is_halved(image)  # is known before the pixels are decoded only
        rgb = to_rgb(image, decoding.levels)
        if halved and decoding.levels is None and np.asarray(rgb).max(initial=0) < DARK:
            raise too_dark(path)
        return rgb

    return opened(path, decoding, decode)


def upright_size(path: Path, decoding: Decoding | None = None) -> tuple[int, int]:
    """Height and width of the upright image in a file, from its header if possible. Raises UserError as `read_image`."""

    def size(image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        if image.format == "TIFF":  # some versions of Pillow turn its size on opening, others on loading
            width, height = image.tag_v2[256], image.tag_v2[257]  # type: ignore[attr-defined]
        return (width, height) if orientation(image) in SIDEWAYS else (height, width)

    return opened(path, decoding or Decoding(), size)


def decoded_size(path: Path) -> tuple[int, int]:
    """As `upright_size`, after all pixels are decoded: also raises UserError for a file whose header alone is whole."""
    width, height = read_image(path, Decoding(Levels())).size
    return height, width


def to_rgb(image: Image.Image, levels: Levels | None = None) -> Image.Image:
    """Upright RGB: EXIF rotation applied, transparency laid over white, more than 8 bits scaled by `levels`.

    Without `levels`, white is the highest value of the image itself.
    """
    image.load()  # of a TIFF this turns the pixels and removes the orientation
    turn = TURNS.get(orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if is_deep(image):
        image = (levels or Levels.of([(image.mode, range_of(image))])).scale(image)
    if image.mode == "La":  # Pillow converts it to LA only
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or it cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # metadata is no reason not to read an image
        return 1
    return value if value in TURNS else 1


def is_halved(image: Image.Image) -> bool:
    """Whether Pillow will keep only the upper 8 bits of a 16-bit colour image that is opened and not loaded."""
    tiles = getattr(image, "tile", [])
    return not is_deep(image) and any(";16" in str(tile) for tile in tiles)


def is_scrambled(image: Image.Image) -> bool:
    """Whether Pillow will read the 16 bits of an uncompressed TIFF with a plane for each colour as two 8-bit pixels."""
    tags = getattr(image, "tag_v2", {})  # 258: bits of each colour, 284: 2 for separate planes
    tiles = getattr(image, "tile", [])
    return not is_deep(image) and tags.get(284) == 2 and max(tags.get(258, (8,))) > 8 and tiles[0][0] == "raw"


def square(image: Image.Image, side: int) -> Image.Image:
    """Shorter side resized to `side` (antialiased bicubic), then the central side x side pixels."""
    return ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)


def opened(path: Path, decoding: Decoding, use: Callable[[Image.Image], T]) -> T:
    """The result of `use` on the opened image. If it fails, once more without metadata, since only that may be damaged."""
    limit = decoding.max_pixels or PILLOW_LIMIT
    if Image.MAX_IMAGE_PIXELS is not None and limit > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit  # Pillow's only switch; it stays so in this process

    def attempt(file: Path | io.BytesIO) -> T:
        with Image.open(file) as image:
            pixels = image.width * image.height
            if pixels > limit:
                raise Image.DecompressionBombError(f"Image size ({pixels} pixels) exceeds limit of {limit} pixels")
            return use(image)

    try:
        try:
            return attempt(path)
        except (UserError, Image.DecompressionBombError, FileNotFoundError, PermissionError):
            raise
        except Exception:
            with contextlib.suppress(Exception):
                bare = without_metadata(path.read_bytes())
                if bare is not None:
                    return attempt(io.BytesIO(bare))
            raise
    except UserError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise unreadable(path, error) from None


def read_or_say(read: Callable[[Path], T], path: Path, remedy: str) -> T:
    """`read(path)`; the error of an unreadable file ends with `remedy`, what can be done where it is used."""
    try:
        return read(path)
    except UserError as error:
        raise UserError(f"{str(error).partition('; ')[0]}; {remedy}") from None


def unreadable(path: Path, error: Exception) -> UserError:
    """The error message if opening or decoding an image raised `error`."""
    name = plain_text(path)
    if isinstance(error, FileNotFoundError):
        return UserError(f"{name}: no longer found; restore it and resume")
    text = (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{name}: {text.partition(',')[0]}; give a larger max_pixels= or scale the image down")
    if isinstance(error, UnidentifiedImageError):  # its text holds the path once more
        empty = path.exists() and path.stat().st_size == 0
        text = "the file is empty" if empty else "not in a format that Pillow knows"
    reason = plain_text(text if " " in text else f"{type(error).__name__} {text}".strip())
    return UserError(
        f"{name}: not a readable image ({reason}); repair or remove it, or use skip_unreadable=True, also to resume a run"
    )


def too_dark(path: Path) -> UserError:
    """The error message for 16-bit colour that would be read as almost black."""
    return UserError(
        f"{plain_text(path)}: 16-bit colour whose values use less than a quarter of the range, of which only the upper 8 "
        "bits are read; scale the images to the full range or save them with 8 bits"
    )


read_picture = read_image
