"""The image files of one part of a data set, read into memory or left on disk until they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.progress import Progress
from .files import FileImages
from .image_set import ImageSet, choose
from .listing import say_once
from .reading import THREADS, Decoding, read_image, square

IN_MEMORY = 96  # pixels a side; larger images stay in their files
MARGIN = 256 / 224  # larger images are read with this many times the wanted side, so that the centre can be cut out


def file_side(size: int) -> int:
    """The side in pixels that image files are read with for an encoder of `size` pixels."""
    return size if size <= IN_MEMORY else round(size * MARGIN)


@dataclass(frozen=True)
class Files:
    """`paths` of n images; `labels` int64 (n,) into `classes`, or None."""

    paths: Sequence[Path]
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, rows: Tensor) -> Files:
        """The files at `rows`, int64 (m,)."""
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, paths=[self.paths[i] for i in rows.tolist()], labels=labels)

    def subset(self, count: int | None, seed: int) -> Files:
        """As `ImageSet.subset`."""
        if count is None or count >= len(self):
            return self
        labels = torch.zeros(len(self), dtype=torch.int64) if self.labels is None else self.labels
        return self.at(choose(labels, count, seed))


@dataclass(frozen=True)
class Reader:
    """How files become the images of a source: square, of `side` pixels, decoded by `decoding`.

    An unreadable file is an error, or left out if `skip_unreadable`.
    """

    side: int
    decoding: Decoding
    skip_unreadable: bool = False

    def read(self, files: Files, what: str, in_place: bool = False) -> tuple[ImageSet, int]:
        """The images of `files`, and how many of them cannot be read. `what` names the work in the progress bar.

        `in_place`: the next readable image, with its label, takes the place of an unreadable one, so that the number and
        order of the others, and with them the batches of a run, stay as they are.
        """
        squares: Tensor | None = None
        if self.side <= IN_MEMORY:
            squares, kept = read_squares(files.paths, self, what)  # (m, 3, side, side)
        else:
            kept = self._readable(files.paths, what)
        shown, lost = files, len(files) - len(kept)
        if lost:
            rows = torch.tensor(kept, dtype=torch.int64)  # (m,)
            if in_place and kept:
                places = torch.searchsorted(rows, torch.arange(len(files))) % len(rows)  # (n,)
                rows, squares = rows[places], None if squares is None else squares[places]
            shown = files.at(rows)
            self._report(files.paths, kept, "replaced by the next ones" if in_place else "left out")
        if squares is not None:
            return ImageSet(squares, shown.labels, shown.classes), lost
        images = FileImages(shown.paths, file_side(self.side), self.decoding, listed=files.paths)
        return ImageSet(images, shown.labels, shown.classes), lost

    def _report(self, paths: Sequence[Path], kept: list[int], fate: str) -> None:
        """Say how many files are unreadable, and why the first one is."""
        first = min(set(range(len(paths))) - set(kept))
        reason = str(_error(paths[first], self.decoding)).partition(";")[0]
        say_once(f"{len(paths) - len(kept)} of {len(paths)} images cannot be read and are {fate}; the first: {reason}")

    def _readable(self, paths: Sequence[Path], what: str) -> list[int]:
        """Which of `paths` decode without an error. All are read, unless an error is to come when one is used."""
        if not self.skip_unreadable:
            return list(range(len(paths)))
        kept: list[int] = []
        with ThreadPoolExecutor(THREADS) as pool, Progress(len(paths), "image", what, delay=2, leave=False) as bar:
            for start in range(0, len(paths), 1024):
                part = range(start, min(start + 1024, len(paths)))
                errors = pool.map(lambda index: _error(paths[index], self.decoding), part)
                kept += [index for index, error in zip(part, errors, strict=True) if error is None]
                bar.update(len(part))
        return kept


def _error(path: Path, decoding: Decoding) -> UserError | None:
    try:
        read_image(path, decoding)
    except UserError as error:
        return error
    return None


def read_squares(paths: Sequence[Path], reader: Reader, what: str) -> tuple[Tensor, list[int]]:
    """Images as uint8 (m, 3, side, side), and which of `paths` they are.

    Raises the UserError of an unreadable one unless `reader` leaves it out, and one if memory cannot hold them all.
    """

    def read(path: Path) -> np.ndarray | UserError:
        try:
            return np.asarray(square(read_image(path, reader.decoding), reader.side)).transpose(2, 0, 1)
        except UserError as error:
            return error

    check_memory(len(paths), reader.side)
    images = torch.empty(len(paths), 3, reader.side, reader.side, dtype=torch.uint8)
    kept: list[int] = []
    with ThreadPoolExecutor(THREADS) as pool, Progress(len(paths), "image", what, delay=2, leave=False) as bar:
        for index, image in enumerate(pool.map(read, paths)):
            bar.update()
            if isinstance(image, UserError):
                if not reader.skip_unreadable:
                    pool.shutdown(cancel_futures=True)
                    raise image
                continue
            images[len(kept)] = torch.from_numpy(image.copy())
            kept.append(index)
    return images[: len(kept)], kept


def check_memory(count: int, side: int) -> None:
    """Raise UserError if images kept as one tensor would take more than half of the memory of this machine."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # each keeps its own
    needed = processes * count * 3 * side**2
    each = f" in each of {processes} processes" * (processes > 1)
    if needed > memory / 2:
        raise UserError(
            f"{count} images of {side}x{side}{each} take {needed / 2**30:.1f} GiB, more than half of the memory here; use fewer "
            f"with train_images=, a smaller image_size=, or one above {IN_MEMORY}, at which images stay in their files"
        )
