"""Images too many for memory: worker processes decode and crop, the device does the colour augmentation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from .cache import ImageCache
from .files import FileImages
from .loaders import Batches
from .reading import Decoding, read_image
from .views import Views
from .workers import items

CHUNK = 64  # images of a batch that are in memory decoded


class StepCrops(Dataset[list[Tensor]]):
    """Item number `step` is the whole batch of that step: for each view its crops, uint8 (B, 3, size, size).

    Every image is decoded once and all crops are cut from it. The crops are drawn from seed, step and row, so workers
    hold no state, and a run resumes in the middle of an epoch by asking for the next step.
    """

    def __init__(self, images: FileImages | Sequence[Path] | ImageCache, batches: Batches, views: Views) -> None:
        self.decoding = images.decoding if isinstance(images, FileImages) else Decoding()
        paths = images.paths if isinstance(images, FileImages) else images
        # one array of names: a million paths would take each worker a gigabyte and ten seconds to receive
        self.images = paths if isinstance(paths, ImageCache) else np.array([*map(os.fsencode, paths)])
        self.batches = batches
        self.views = Views(views.views, views.seed)  # a copy that compiles nothing: workers must be able to receive it
        self._pixels: Tensor | None = None

    def __getitem__(self, step: int) -> list[Tensor]:
        indices, rows = self.batches.rows(step)
        views = self.views.views
        # channels last in memory, as decoded images are
        crops = [
            torch.empty(len(rows), view.size, view.size, 3, dtype=torch.uint8).permute(0, 3, 1, 2) for view in views
        ]
        for start in range(0, len(rows), CHUNK):
            part = torch.arange(start, min(start + CHUNK, len(rows)))
            images = [self._image(index) for index in indices[part].tolist()]
            heights, widths = torch.tensor([image.shape[:2] for image in images]).unbind(1)
            boxes = self.views.boxes(step, rows[part], heights, widths)
            for view, made, drawn in zip(views, crops, boxes, strict=True):
                for at, image, box in zip(part.tolist(), images, drawn.tolist(), strict=True):
                    made[at] = cut(image, box, view.size, view.interpolation)
        return crops

    def _image(self, index: int) -> Tensor:
        """uint8 (H, W, 3)."""
        if not isinstance(self.images, ImageCache):
            return torch.from_numpy(np.array(read_image(Path(os.fsdecode(self.images[index])), self.decoding)))
        if self._pixels is None:
            self._pixels = self.images.open()
        return self.images.image(self._pixels, index)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pixels": None}  # each process maps the file for itself


def cut(image: Tensor, box: Sequence[int], size: int, interpolation: str) -> Tensor:
    """The box top, left, height, width of a uint8 image (H, W, 3), resized (antialiased) -> uint8 (3, size, size)."""
    top, left, height, width = box
    crop = image[None, top : top + height, left : left + width].permute(0, 3, 1, 2)  # (1, 3, h, w)
    return F.interpolate(crop, (size, size), mode=interpolation, antialias=True, align_corners=False)[0]


class Stream:
    """The crops of steps `first` to `last` in order, made ahead by `workers` processes (0: in this one). `pinned`: in pinned memory."""

    def __init__(self, crops: StepCrops, first: int, last: int, workers: int, pinned: bool) -> None:
        self.next_step = first
        self._crops: Iterator[list[Tensor]] = items(crops, range(first, last), workers, pinned)

    def take(self) -> list[Tensor]:
        """The crops of the next step."""
        self.next_step += 1
        return next(self._crops)
