"""Pictures too many for memory: worker processes decode and cut, the device does the colour work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from .cache import PictureCache
from .loaders import Batches
from .reading import read_picture
from .views import Views


class StepCrops(Dataset):
    """Item number `step` is the whole batch of that step: for each view its crops, uint8 (B, 3, size, size).

    Every picture is decoded once, both crops are cut from it. What is cut is drawn from seed, step and row, so workers
    hold no state and a run resumes in the middle of an epoch by asking for the next step.
    """

    def __init__(self, pictures: Sequence[Path] | PictureCache, batches: Batches, views: Views) -> None:
        self.pictures, self.batches = pictures, batches
        self.views = Views(views.views, views.seed)  # a copy that compiles nothing: workers must be able to receive it
        self._pixels: np.ndarray | None = None

    def __getitem__(self, step: int) -> list[Tensor]:
        torch.set_num_threads(1)
        indices, rows = self.batches.rows(step)
        decoded = [self._decode(index) for index in indices.tolist()]  # (H, W, 3) each
        heights, widths = torch.tensor([picture.shape[:2] for picture in decoded]).unbind(1)
        boxes = self.views.boxes(step, rows, heights, widths)
        return [
            torch.stack([cut(picture, box, view.size, view.interpolation) for picture, box in zip(decoded, drawn.tolist(), strict=True)])
            for view, drawn in zip(self.views.views, boxes, strict=True)
        ]  # fmt: skip

    def _decode(self, index: int) -> np.ndarray:
        if isinstance(self.pictures, PictureCache):
            if self._pixels is None:
                self._pixels = self.pictures.open()
            return self.pictures.picture(self._pixels, index)
        return np.asarray(read_picture(self.pictures[index]))

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_pixels": None}  # a mapped file is mapped again where it is used


def cut(picture: np.ndarray, box: list[int], size: int, interpolation: str) -> Tensor:
    """The box top, left, height, width of a uint8 picture (H, W, 3), resized with antialiasing -> uint8 (3, size, size)."""
    top, left, height, width = box
    crop = torch.from_numpy(np.ascontiguousarray(picture[top : top + height, left : left + width]))
    crop = crop.permute(2, 0, 1)[None]  # (1, 3, h, w), channels last in memory, the fast path for uint8
    return F.interpolate(crop, (size, size), mode=interpolation, antialias=True, align_corners=False)[0]


class Stream:
    """The crops of steps `first` to `last` in order, made ahead by `workers` processes (0: in this one)."""

    def __init__(self, crops: StepCrops, first: int, last: int, workers: int, pinned: bool) -> None:
        loader = DataLoader(
            crops,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            pin_memory=pinned,
            prefetch_factor=2 if workers else None,
            persistent_workers=False,
            multiprocessing_context="spawn" if workers else None,
        )
        self.next_step = first
        self._batches: Iterator[list[Tensor]] = iter(loader)

    def take(self) -> list[Tensor]:
        """The crops of the next step."""
        self.next_step += 1
        return next(self._batches)
