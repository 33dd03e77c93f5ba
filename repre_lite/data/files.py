"""Pictures that stay in their files until they are looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .reading import read_picture, square


class FileImages:
    """A stack of picture files that reads like a uint8 tensor (n, 3, side, side): shorter side resized, centre cut.

    `images[3:7]`, `images[[1, 5]]` and `images.split(256)` give tensors, read when asked for. Reading raises UserError
    naming the file where one cannot be read.
    """

    dtype = torch.uint8

    def __init__(self, paths: Sequence[Path], side: int) -> None:
        self.paths = list(paths)
        self.side = side

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.paths), 3, self.side, self.side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, which: slice | Sequence[int] | Tensor) -> Tensor:
        """The chosen pictures, uint8 (m, 3, side, side)."""
        chosen = self.paths[which] if isinstance(which, slice) else [self.paths[int(i)] for i in which]
        images = torch.empty(len(chosen), 3, self.side, self.side, dtype=torch.uint8)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for index, picture in enumerate(pool.map(self._read, chosen)):
                images[index] = torch.from_numpy(picture)
        return images

    def split(self, size: int) -> Iterator[Tensor]:
        """Consecutive parts of up to `size` pictures."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def _read(self, path: Path) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(square(read_picture(path), self.side)).transpose(2, 0, 1))
