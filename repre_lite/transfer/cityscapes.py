"""Cityscapes through torchvision: 19 classes, 2,975 images to learn from, 500 to measure on. Never run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import Cityscapes

from ..data.masks import IGNORE, MaskSet, MaskSource
from ..runtime.errors import UserError, first_line
from ..runtime.text import plain_text

SIZE = (1024, 2048)
NO_CLASS = (-1, 255)  # train ids of what does not count


def load_cityscapes(root: str | Path, train_images: int | None = None, seed: int = 0) -> MaskSource:
    """Cityscapes in `root`, which holds leftImg8bit/ and gtFine/ as they are unpacked.

    `train_images`: a subset to learn from, drawn by `seed`. Raises UserError if images or annotations are missing.
    """
    parts = [_part(Path(root), split) for split in ("train", "val")]
    return MaskSource("cityscapes", parts[0].subset(train_images, seed), parts[1])


def _part(root: Path, split: str) -> MaskSet:
    try:
        held = Cityscapes(str(root), split=split, mode="fine", target_type="semantic")
    except (RuntimeError, OSError) as error:
        reason = first_line(error)
        raise UserError(f"data={plain_text(root)}: {reason}; give the folder of leftImg8bit/ and gtFine/") from None
    for files in held.targets:
        if not Path(files[0]).is_file():
            raise UserError(f"{plain_text(files[0])}: not found; unpack all of gtFine/")
    known = sorted((c.train_id, c.name) for c in Cityscapes.classes if c.train_id not in NO_CLASS)
    names = tuple(Path(path).stem for path in held.images)
    pixels = torch.ones(len(names), len(known), dtype=torch.int64)  # not counted: that would read every mask
    return MaskSet(tuple(name for _, name in known), names, (SIZE,) * len(names), pixels, _Read(held))


class _Read:
    """Image uint8 (3, H, W) and mask of train ids int64 (H, W) by number."""

    def __init__(self, held: Any) -> None:
        self.held = held
        self.ids = torch.full((256,), IGNORE)
        for label in Cityscapes.classes:
            if label.train_id not in NO_CLASS and label.id >= 0:
                self.ids[label.id] = label.train_id

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.held[index]
        pixels = torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())
        return pixels, self.ids[torch.from_numpy(np.array(labels)).long()]
