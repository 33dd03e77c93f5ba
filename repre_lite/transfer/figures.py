"""Predictions beside the truth, as one PNG file."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import encode_png
from torchvision.utils import make_grid

from ..runtime import files

GREY = (128, 128, 128)  # pixels that do not count
HEIGHT = 160  # pixels of an image in the figure


def palette(count: int) -> Tensor:
    """`count` colours that differ, uint8 (count, 3)."""
    golden = 0.61803398875  # spreads hues whatever their number
    colours = [colorsys.hsv_to_rgb(i * golden % 1, 0.65, 0.55 if i % 2 else 0.95) for i in range(count)]
    return (torch.tensor(colours) * 255).round().to(torch.uint8)


def draw_masks(rows: Sequence[tuple[Tensor, Tensor, Tensor]], classes: int, path: Path) -> None:
    """Write a figure with a row for each (image uint8 (3, H, W), true classes (H, W), predicted classes (H, W))."""
    colours = torch.cat([palette(classes), torch.tensor([GREY], dtype=torch.uint8)])
    cells = []
    for image, truth, prediction in rows:
        painted = [
            colours[torch.where((mask >= 0) & (mask < classes), mask, classes)].permute(2, 0, 1)  # (3, H, W)
            for mask in (truth, prediction)
        ]
        cells += [scaled(x) for x in (image, *painted)]
    write_grid(cells, 3, path)


def scaled(image: Tensor) -> Tensor:
    """uint8 (C, H, W) -> (C, HEIGHT, W'), without new values."""
    width = round(image.shape[-1] * HEIGHT / image.shape[-2])
    return F.interpolate(image[None], (HEIGHT, width), mode="nearest-exact")[0]


def write_grid(cells: Sequence[Tensor], columns: int, path: Path) -> None:
    """Write images uint8 (3, H, W') of one height, `columns` in a row, as one PNG file."""
    widest = max(cell.shape[-1] for cell in cells)
    padded = [F.pad(cell, (0, widest - cell.shape[-1]), value=255) for cell in cells]
    grid = make_grid(torch.stack(padded), nrow=columns, padding=4, pad_value=255)
    files.write_bytes(path, bytes(encode_png(grid).numpy()))
