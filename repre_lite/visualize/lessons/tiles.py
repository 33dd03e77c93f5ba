"""Any image through an encoder of small images: cut into tiles, reconstructed one by one, joined again."""

from __future__ import annotations

import torch
from torch import Tensor

from ...runs import Run
from ...runtime.errors import UserError


def cut(image: Tensor, side: int) -> Tensor:
    """`image` (3, H, W) -> its tiles (B, 3, side, side), row by row. Raises UserError if `side` does not divide H and W."""
    height, width = image.shape[1:]
    if height % side or width % side:
        raise UserError(f"side={side} does not divide an image of {height} x {width} pixels; resize the image first")
    tiles = image.unfold(1, side, side).unfold(2, side, side)  # (3, rows, columns, side, side)
    return tiles.flatten(1, 2).transpose(0, 1).contiguous()  # (B, 3, side, side)


def join(tiles: Tensor, rows: int) -> Tensor:
    """`tiles` (B, 3, side, side) -> the image (3, rows * side, B / rows * side): the inverse of `cut`."""
    grid = tiles.unflatten(0, (rows, -1))  # (rows, columns, 3, side, side)
    image: Tensor = grid.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return image


@torch.no_grad()
def reconstruct_tiles(run: Run, image: Tensor) -> Tensor:
    """`image` uint8 (3, H, W), a whole number of tiles of the run's image size -> its reconstruction in [0, 1], clipped."""
    side = run.recipe.image_size
    tiles = cut(image, side).float() / 255  # (B, 3, side, side)
    return join(run.reconstruct(tiles), image.shape[1] // side).clamp(0, 1)
