"""Images that stay in their files until they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .reading import THREADS, Decoding, read_image, square


class FileImages:
    """A stack of n image files that reads like a uint8 tensor (n, 3, side, side): shorter side resized, centre cut.

    `images[3]`, `images[3:7]`, `images[[1, 5]]` and `images.split(256)` are tensors, read when asked for. Reading raises
    UserError naming the file that cannot be read. `listed` are the files that were found, which identify the data set;
    `paths` are those of them that are shown, one of them several times if others could not be read.
    """

    dtype = torch.uint8

    def __init__(
        self,
        paths: Sequence[Path],
        side: int,
        decoding: Decoding | None = None,
        listed: Sequence[Path] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.side = side
        self.decoding = decoding or Decoding()
        self.listed = self.paths if listed is None else list(listed)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, 3, side, side), without reading anything."""
        return len(self.paths), 3, self.side, self.side

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, chosen: Sequence[int]) -> FileImages:
        """The chosen ones, still in their files."""
        return FileImages([self.paths[i] for i in chosen], self.side, self.decoding)

    def __getitem__(self, which: int | slice | Sequence[int] | Tensor) -> Tensor:
        """One image, uint8 (3, side, side), or several, (m, 3, side, side)."""
        if isinstance(which, int):
            return torch.from_numpy(self._read(self.paths[which]))
        chosen = self.paths[which] if isinstance(which, slice) else [self.paths[int(i)] for i in which]
        images = torch.empty(len(chosen), 3, self.side, self.side, dtype=torch.uint8)
        with ThreadPoolExecutor(THREADS) as pool:
            for index, image in enumerate(pool.map(self._read, chosen)):
                images[index] = torch.from_numpy(image)
        return images

    def split(self, size: int) -> Iterator[Tensor]:
        """Consecutive parts of up to `size` images, (m, 3, side, side); each is read while the one before is used."""
        with ThreadPoolExecutor(1) as ahead:
            coming = None
            for start in [*range(0, len(self), size), None]:
                ready = coming
                coming = None if start is None else ahead.submit(self.__getitem__, slice(start, start + size))
                if ready is not None:
                    yield ready.result()

    def _read(self, path: Path) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(square(read_image(path, self.decoding), self.side)).transpose(2, 0, 1))
