"""The embedded images: scenes of a textured shape on a textured ground, drawn from an index, never downloaded.

A class is a shape, its texture, the texture of the ground behind it and the place around which it lies; colours, sizes,
angles, lighting and small distractors vary. The draws are exact everywhere (an integer hash of seed, index and purpose),
the pixels equal to one grey level. Geometry lives in unit coordinates, so a scene looks the same at every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.errors import UserError

VAL_START = 1_000_000  # validation scenes are numbered from here
CHUNK = 256
DRAWS = 40

# class -> (texture it wears, texture of its ground, the place it likes (x, y), its usual radius)
CLASSES: dict[str, tuple[str, str, tuple[float, float], float]] = {
    "disc": ("stripes", "plain", (0.50, 0.45), 0.27),
    "square": ("dots", "stripes", (0.50, 0.55), 0.24),
    "triangle": ("rings", "dots", (0.50, 0.58), 0.29),
    "ring": ("plain", "checks", (0.45, 0.50), 0.29),
    "cross": ("checks", "waves", (0.55, 0.50), 0.27),
    "star": ("plain", "waves", (0.50, 0.42), 0.32),
    "diamond": ("waves", "rings", (0.55, 0.45), 0.30),
    "crescent": ("dots", "plain", (0.42, 0.42), 0.30),
    "bar": ("checks", "dots", (0.50, 0.50), 0.30),
    "flower": ("rings", "stripes", (0.45, 0.55), 0.30),
}
CLASS_NAMES = tuple(CLASSES)

Array = NDArray[np.floating[Any]]


class Scenes(NamedTuple):
    """`images` uint8 (B, 3, H, W); `labels` int64 (B,) into CLASS_NAMES; `masks` bool (B, H, W), the shape's pixels;
    `boxes` float32 (B, 4), x0 y0 x1 y1 around the mask, in pixels."""

    images: Tensor
    labels: Tensor
    masks: Tensor
    boxes: Tensor


def scenes(indices: Sequence[int] | Tensor, seed: int = 0, size: int = 32) -> Scenes:
    """Draw the scenes numbered `indices` of the world `seed` at `size` x `size` pixels.

    A scene depends on its index alone, not on the others drawn with it. Labels cycle through the classes, so any
    consecutive range of indices is balanced. Raises UserError for a size below 8 and for
    indices that are no sequence.
    """
    if size < 8:
        raise UserError(f"image_size={size}: scenes need at least 8 pixels")
    numbers = np.asarray(indices, dtype=np.int64)
    if numbers.ndim != 1:
        raise UserError(f"indices={indices}: give the numbers of the scenes to draw, such as range(24)")
    labels = numbers % len(CLASSES)
    images = np.empty((len(numbers), 3, size, size), dtype=np.uint8)
    masks = np.empty((len(numbers), size, size), dtype=bool)
    for label, name in enumerate(CLASSES):
        members = np.flatnonzero(labels == label)
        for part in np.array_split(members, max(1, -(-len(members) // CHUNK))):
            if len(part):
                images[part], masks[part] = _draw(name, _uniform(numbers[part], seed), size)
    return Scenes(
        torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(masks), torch.from_numpy(_boxes(masks))
    )


def _uniform(numbers: np.ndarray, seed: int) -> np.ndarray:
    """(B, DRAWS) numbers in [0, 1) by a 64-bit finaliser (splitmix64) over seed, index and column."""
    with np.errstate(over="ignore"):
        x: np.ndarray = numbers.astype(np.uint64)[:, None] * np.uint64(DRAWS) + np.arange(DRAWS, dtype=np.uint64)
        x += np.uint64(seed % 2**32) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _draw(name: str, u: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (B, 3, size, size) and masks (B, size, size) of one class from its draws `u` (B, DRAWS)."""
    worn, ground, (like_x, like_y), usual = CLASSES[name]
    c = [u[:, i, None, None] for i in range(DRAWS)]  # each (B, 1, 1)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = axis[None, None, :], axis[None, :, None]
    soft = np.float32(0.75 / size)  # half the width of an edge

    dark = c[0] < 0.5  # a light shape on a dark ground, or the other way round
    own = np.float32(CLASS_NAMES.index(name) / len(CLASS_NAMES))  # colours lean towards the class
    other, hue = own + 0.28 * (c[1] - 0.5), own + 0.35 + 0.28 * (c[2] - 0.5)
    low, high = 0.15 + 0.25 * c[3], 0.70 + 0.30 * c[4]
    ground_value, shape_value = np.where(dark, low, high), np.where(dark, high, low)
    light = 1 + 1.2 * (c[5] - 0.5) * (x - 0.5) + 1.2 * (c[6] - 0.5) * (y - 0.5)

    angle = c[7] * np.float32(np.pi)
    pattern = _texture(ground, x, y, angle, 3 + 2 * c[8], c[9])
    image = _colour(hue, 0.25 + 0.3 * c[10], ground_value * (0.45 + 0.55 * pattern), hue + 0.05, pattern)

    for first in (26, 31):  # two small plain discs that belong to no class
        radius = 0.03 + 0.05 * c[first]
        cover = _cover(np.hypot(x - c[first + 1], y - c[first + 2]) - radius, soft)[:, None]
        value = np.where(dark, 0.5 + 0.4 * c[first + 3], 0.2 + 0.3 * c[first + 3])
        image += cover * (_colour(c[first + 4], 0 * value + 0.6, value, c[first + 4], value) - image)

    radius = usual * (0.70 + 0.55 * c[11])
    px, py = x - (like_x + 0.6 * (c[12] - 0.5)), y - (like_y + 0.6 * (c[13] - 0.5))
    turn = (c[14] - 0.5) * np.float32(1.6)
    cos, sin = np.cos(turn), np.sin(turn)
    sx, sy = (px * cos + py * sin) / radius, (py * cos - px * sin) / radius
    distance = _shape(name, sx, sy) * radius
    shadow = _cover(_shape(name, sx - 0.12, sy - 0.12) * radius, soft * 4)[:, None]
    image *= 1 - 0.35 * shadow
    pattern = _texture(worn, sx, sy, c[15] * np.float32(np.pi), 1.1 + 0.5 * c[16], c[17])
    worn_colours = _colour(other, 0.35 + 0.35 * c[18], shape_value * (0.4 + 0.6 * pattern), other + 0.05, pattern)
    image += _cover(distance, soft)[:, None] * (worn_colours - image)

    image *= light[:, None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), distance < 0


def _cover(distance: Array, soft: Array | np.float32) -> Array:
    """The share of a pixel that lies inside: 1 inside, 0 outside, a ramp at the edge."""
    share: Array = np.clip(0.5 - distance / (2 * soft), 0, 1)
    return share


def _shape(name: str, x: Array, y: Array) -> Array:
    """Signed distance (about) to the outline of a shape of radius 1, negative inside."""
    distance: Array
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    ax, ay = np.abs(x), np.abs(y)
    if name == "disc":
        distance = r - 0.95
    elif name == "square":
        distance = np.maximum(ax, ay) - 0.9
    elif name == "triangle":
        distance = np.maximum(ax * 0.866 + y * -0.5, y) - 0.55
    elif name == "ring":
        distance = np.abs(r - 0.75) - 0.27
    elif name == "cross":
        distance = np.minimum(np.maximum(ax - 1, ay - 0.33), np.maximum(ay - 1, ax - 0.33))
    elif name == "diamond":
        distance = (ax + ay * 0.75 - 0.9) * 0.8
    elif name == "crescent":
        distance = np.maximum(r - 1, 0.8 - np.hypot(x - 0.5, y + 0.1))
    elif name == "bar":
        distance = np.maximum(ax - 1.15, ay - 0.38)
    elif name == "star":
        wave = np.abs(((angle + np.pi / 2) * 5 / (2 * np.pi)) % 1 - 0.5) * 2  # 1 at the points, 0 between them
        distance = (r - (0.42 + 0.63 * wave**1.5)) * 0.6
    else:  # flower
        distance = (r - (0.72 + 0.26 * np.cos(6 * angle))) * 0.7
    return distance


def _texture(kind: str, x: Array, y: Array, angle: Array, frequency: Array, phase: Array) -> Array:
    """A pattern in [0, 1] over the plane, `frequency` periods a unit, turned by `angle`, shifted by `phase`."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.float32(2 * np.pi)
    a, b = (x * cos + y * sin) * frequency + phase, (y * cos - x * sin) * frequency
    if kind == "plain":
        return np.broadcast_to(
            0.75 + 0.25 * np.sin(turn * (a - phase) * 0.12 + 6 * phase), np.broadcast_shapes(a.shape, b.shape)
        )
    if kind == "stripes":
        wave = np.sin(turn * a) * 2.5 + 0 * b
    elif kind == "waves":
        wave = np.sin(turn * (a + 0.22 * np.sin(turn * b * 0.8))) * 2.0
    elif kind == "dots":
        wave = (np.cos(turn * a) * np.cos(turn * b) - 0.25) * 4
    elif kind == "checks":
        wave = np.sin(turn * a * 0.75) * np.sin(turn * b * 0.75) * 5
    else:  # rings
        wave = np.sin(turn * (np.hypot(a - phase, b) * 1.1 + phase)) * 2.5
    pattern: Array = 0.5 + 0.5 * np.clip(wave, -1, 1)
    return pattern


def _colour(hue: Array, saturation: Array, value: Array, hue_high: Array, pattern: Array) -> Array:
    """(B, H, W) value -> (B, 3, H, W) colours; the hue moves from `hue` to `hue_high` as the pattern rises."""
    hue = hue + (hue_high - hue) * pattern
    k = (np.array([5, 3, 1], dtype=np.float32)[None, :, None, None] + (6 * hue)[:, None]) % 6  # (B, 3, H, W)
    colours: Array = value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1)).astype(np.float32)
    return colours


def _boxes(masks: Array) -> Array:
    """The tight boxes of masks (B, H, W): float32 (B, 4), x0 y0 x1 y1."""
    columns, rows = np.any(masks, axis=1), np.any(masks, axis=2)  # (B, W), (B, H)
    size = masks.shape[1]
    ends = [columns.argmax(1), rows.argmax(1), size - columns[:, ::-1].argmax(1), size - rows[:, ::-1].argmax(1)]
    return np.stack(ends, axis=1).astype(np.float32)
