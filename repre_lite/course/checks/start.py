"""Lesson 00: tiles joined to an image, the room in a last layer, a measure of colour."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...encoder import build_encoder
from ...visualize.lessons.tiles import join
from .exercise import Fill, Open, Prediction, Rule, Wrong, values


def _tiles() -> list[tuple[Tensor, int]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.rand(count, 3, 4, 4, generator=draw), rows) for count, rows in ((6, 2), (12, 4), (3, 1))]


def _join_by_cat(tiles: Tensor, rows: int) -> Tensor:
    return torch.cat([torch.cat(list(row), dim=2) for row in tiles.chunk(rows)], dim=1)


def _join_by_fold(tiles: Tensor, rows: int) -> Tensor:
    count, side = len(tiles), tiles.shape[-1]
    columns = tiles.flatten(1).T[None]  # (1, 3 * side * side, B)
    return F.fold(columns, (rows * side, count // rows * side), kernel_size=side, stride=side)[0]


def _join_by_hand(tiles: Tensor, rows: int) -> Tensor:
    side, across = tiles.shape[-1], len(tiles) // rows
    image = torch.zeros(3, rows * side, across * side, dtype=tiles.dtype)
    for number, tile in enumerate(tiles):
        top, left = number // across * side, number % across * side
        image[:, top : top + side, left : left + side] = tile
    return image


def _join_in_numpy(tiles: Tensor, rows: int) -> np.ndarray:
    grid = tiles.numpy().reshape(rows, -1, *tiles.shape[1:])
    return grid.transpose(2, 0, 3, 1, 4).reshape(3, rows * tiles.shape[2], -1)


check_join = Fill(
    task="`join(tiles, rows)`: (B, 3, side, side), numbered row by row -> the image (3, rows * side, B / rows * side).",
    solved="join: every tile is in its place",
    cases=_tiles,
    watch=values,
    right=(join, _join_by_cat, _join_by_fold, _join_by_hand, _join_in_numpy),
    wrong=(
        Wrong(
            lambda tiles, rows: tiles.reshape(3, rows * tiles.shape[-1], -1),
            "the shape is right, but reshape keeps the order in memory, tile by tile; permute the axes before you "
            "merge them",
        ),
        Wrong(
            lambda tiles, rows: join(tiles.unflatten(0, (-1, rows)).transpose(0, 1).flatten(0, 1), rows),
            "tiles are numbered row by row: 0, 1, 2 are side by side, not one below the other",
        ),
        Wrong(
            lambda tiles, rows: tiles.unflatten(0, (rows, -1)).permute(2, 3, 0, 4, 1).flatten(3, 4).flatten(1, 2),
            "the tiles are interleaved pixel by pixel: the number of the tile is the outer axis, the pixel the inner one",
        ),
        Wrong(
            lambda tiles, rows: torch.cat(list(tiles), dim=2),
            "all tiles are in one row: start a new row after every B / rows tiles",
        ),
        Wrong(
            lambda tiles, rows: torch.cat(list(tiles), dim=1),
            "all tiles are in one column; join those of a row along the width first, then the rows along the height",
        ),
        Wrong(
            lambda tiles, rows: join(tiles.transpose(2, 3), rows),
            "every tile lies on its side: height and width of a tile are swapped",
        ),
        Wrong(
            lambda tiles, rows: join(tiles, rows)[None],
            "the image has one axis too many: it is (3, H, W), without a batch",
        ),
        Wrong(
            lambda tiles, rows: join(tiles, rows).permute(1, 2, 0),
            "the colours come first in this course, (3, H, W); only matplotlib wants them last",
        ),
        Wrong(
            lambda tiles, rows: join(tiles.flip(0), rows),
            "the upper left corner is for the first tile, not the last",
        ),
    ),
    otherwise="Split the first axis into (rows, columns); bring the axes into the order 3, rows, side, columns, side; merge rows "
    "with the first side and columns with the second",
)


@cache
def _room() -> float:
    """Numbers in the last tap of ViT-S at 224 pixels for each number of the image."""
    with torch.device("meta"):
        encoder = build_encoder("vit_small", image_size=224)
        last = encoder(torch.zeros(1, 3, 224, 224)).taps[-1]  # (1, C, h, w)
    return float(last.numel() / (3 * 224**2))


check_room = Prediction(
    task="How many numbers the last layer of ViT-S, with patches of 16 x 16 pixels and 384 channels, holds for each number of "
    "an image of 224 x 224 pixels: a number.",
    solved="room: right. Half of the image's numbers, so it would have to be compressed, but by two only",
    measure=_room,
    right=(0.5, 384 / (3 * 16 * 16), "0.50", 197 * 384 / (3 * 224**2)),
    wrong=(
        Wrong(2.0, "that is vit_micro's; here a patch has 16 x 16 pixels and 384 channels"),
        Wrong(1.5, "each pixel has three colours: count 3 x 16 x 16 numbers in a patch"),
        Wrong(128.0, "a patch has 16 x 16 pixels, not one; 384 numbers stand for all of them"),
        Wrong(384 / (3 * 224**2), "that is a single vector; the last layer has one for each of the 14 x 14 patches"),
        Wrong(8.0, "that is for patches of 4 pixels; these have 16, so 14 x 14 of them cover the image"),
        Wrong(14 * 14 * 384, "those are the numbers of the last layer; divide by those of the image, 3 x 224 x 224"),
        Wrong(24.0, "the channels over the side of a patch: a patch has an area, and three colours"),
        Wrong(50, "give a ratio, not per cent"),
    ),
    otherwise="14 x 14 patches with 384 numbers each, over 224 x 224 pixels with 3 numbers each; the 14 x 14 cancels",
)


# -- a measure of colour

Measure = Callable[[Tensor], float]


def _image() -> Tensor:
    """An image (3, 8, 8) with several colours."""
    return torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


def _plain(*colour: float) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32)[:, None, None].expand(3, 8, 8).clone()


def _grey() -> list[Tensor]:
    ramp = torch.linspace(0, 1, 64).view(1, 8, 8).expand(3, 8, 8)
    return [_plain(0, 0, 0), _plain(1, 1, 1), _plain(0.4, 0.4, 0.4), ramp.clone()]


def _pale(image: Tensor) -> Tensor:
    return (image + image.mean(0, keepdim=True)) / 2


def _opposites() -> Tensor:
    """Half red, half cyan: the mean colour is grey."""
    image = _plain(0.8, 0.2, 0.2)
    image[:, :, 4:] = torch.tensor([0.2, 0.8, 0.8])[:, None, None]
    return image


def _spread(image: Tensor) -> Tensor:
    """Largest minus smallest channel of each pixel, (H, W)."""
    return image.max(0).values - image.min(0).values


def _hasler(image: Tensor) -> Tensor:
    """The measure of Hasler and Suesstrunk (2003)."""
    red_green, yellow_blue = image[0] - image[1], (image[0] + image[1]) / 2 - image[2]
    spread = (red_green.var() + yellow_blue.var()).sqrt()
    return spread + 0.3 * (red_green.mean().square() + yellow_blue.mean().square()).sqrt()


check_colourful = Open(
    task="`colourful(image)`: (3, H, W) in [0, 1] -> a number: 0 for any grey image, higher the stronger its colours are.",
    solved="colourful: blind to brightness, sees every colour",
    right=(
        lambda image: (image - image.mean(0)).abs().mean(),
        lambda image: float(image.std(0).mean()),
        lambda image: image.numpy().std(0).mean(),
        lambda image: (_spread(image) / image.max(0).values.clamp(min=1e-6)).mean(),
        lambda image: _spread(image).mean(),
        _hasler,
    ),
    rules=(
        Rule(
            lambda measure: torch.as_tensor(torch.nan if (v := measure(_image())) is None else v).numel() == 1,
            "return one number for the whole image: average over its pixels",
            (lambda image: image.std(0), _spread),
        ),
        Rule(
            lambda measure: measure(_image()) is not None,
            "nothing is returned: is the return statement missing?",
            (lambda image: None,),
        ),
        Rule(
            lambda measure: not any(math.isnan(float(measure(grey))) for grey in _grey()),
            "a grey image, such as a black one, gives nan: avoid 0 divided by 0",
            (lambda image: (_spread(image) / image.max(0).values).mean(),),
        ),
        Rule(
            lambda measure: all(abs(float(measure(grey))) < 2e-3 for grey in _grey()),
            "a grey image does not get 0: compare the three colours of a pixel with each other, not pixels with pixels, and "
            "leave brightness out",
            (lambda image: image.std(), lambda image: image.mean(), lambda image: image.max() - image.min()),
        ),
        Rule(
            lambda measure: float(measure(_image())) > 1.05 * float(measure(_pale(_image()))) > 0,
            "an image and its paler copy should differ: stronger colours, a higher number, and never 0 where there is colour",
            (lambda image: 0.0, lambda image: float(_spread(image).max() > 1e-3), lambda image: -_spread(image).mean()),
        ),
        Rule(
            lambda measure: float(measure(_opposites())) > 0.05 * float(measure(_plain(0.8, 0.2, 0.2))),
            "half red and half cyan counts as grey: measure every pixel first and average last, or opposite colours cancel",
            (lambda image: _spread(image.mean((1, 2), keepdim=True)).mean(),),
        ),
        Rule(
            lambda measure: all(
                float(measure(_plain(*colour))) > 0.02
                for colour in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1))
            ),
            "one of red, green, blue, yellow, cyan and magenta is not seen: let all three channels count",
            (
                lambda image: (image[0] - image[1]).abs().mean(),
                lambda image: (image[0] - image[2]).abs().mean(),
                lambda image: (image[0] - image[1:].mean(0)).clamp(min=0).mean(),
            ),
        ),
    ),
)
