"""What can be read from a view without any encoder: its partner by colour or contours alone, and facts about its scene.

Lesson 01 measures with these what an augmentation leaves, and its checks do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.scenes import CLASS_NAMES, VAL_START, Scenes, scenes
from ..data.view import View
from ..data.views import Views

BINS, GRID = 4, 8
PENALTY = 0.1  # of the ridge regression, per image


def colour_histogram(view: Tensor, bins: int = BINS) -> Tensor:
    """`view` (B, 3, H, W) in [0, 1] -> the share of its pixels in each of bins ** 3 colours, (B, bins ** 3)."""
    level = (view * bins).long().clamp(max=bins - 1)  # (B, 3, H, W)
    colour = (level[:, 0] * bins + level[:, 1]) * bins + level[:, 2]  # (B, H, W)
    return F.one_hot(colour.flatten(1), bins**3).float().mean(1)


def contours(view: Tensor, grid: int = GRID) -> Tensor:
    """`view` (B, 3, H, W) -> how much each patch changes from pixel to pixel, across and down, (B, 2 * grid ** 2), without
    mean and scale: where contours are, whatever the colours."""
    maps = F.adaptive_avg_pool2d(_changes(view), grid).flatten(1)
    return (maps - maps.mean(1, keepdim=True)) / maps.std(1, keepdim=True).clamp(min=1e-6)


def _changes(view: Tensor) -> Tensor:
    """(B, 3, H, W) -> mean absolute differences of neighbours, across and down, (B, 2, H, W)."""
    return torch.cat([(view - view.roll(1, axis)).abs().mean(1, keepdim=True) for axis in (3, 2)], dim=1)


def partners_found(one: Tensor, other: Tensor) -> float:
    """The share of rows of `one` (B, D) whose nearest row of `other` (B, D), by absolute differences, has their number."""
    nearest = torch.cdist(one, other, p=1).argmin(1)  # (B,)
    return float((nearest == torch.arange(len(one), device=one.device)).float().mean())


def patch_statistics(view: Tensor, grid: int = GRID) -> Tensor:
    """`view` (B, 3, H, W) -> (B, 8 * grid ** 2): of each patch its mean colour, its distance from the mean colour of the
    whole view, and how much it changes from pixel to pixel across and down."""
    whole = view.mean((2, 3), keepdim=True)  # (B, 3, 1, 1)
    maps = torch.cat([view, (view - whole).abs(), _changes(view)], dim=1)  # (B, 8, H, W)
    return F.adaptive_avg_pool2d(maps, grid).flatten(1)


def facts(drawn: Scenes) -> dict[str, Tensor]:
    """What is true of each scene, (B, D) each: "class" one-hot, "colour" of the shape without its brightness,
    "brightness" of the shape, and the place of its centre, "left to right" and "top to bottom", as a share of the side."""
    mask, image = drawn.masks[:, None].float(), drawn.images.float() / 255  # (B, 1, H, W), (B, 3, H, W)
    mean = (image * mask).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1)  # (B, 3)
    brightness = mean.mean(1, keepdim=True)  # (B, 1)
    centre = (drawn.boxes[:, :2] + drawn.boxes[:, 2:]) / (2 * image.shape[-1])  # (B, 2)
    return {
        "class": F.one_hot(drawn.labels, len(CLASS_NAMES)).float(),
        "colour": mean - brightness,
        "brightness": brightness,
        "left to right": centre[:, :1],
        "top to bottom": centre[:, 1:],
    }


def predict_linearly(train: Tensor, truth: Tensor, val: Tensor, penalty: float = PENALTY) -> Tensor:
    """Ridge regression of `truth` (n, D) on `train` (n, F), which standardises both parts -> predictions for `val` (m, D)."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    x, level = (train - mean) / std, truth.mean(0)
    squares = x.T @ x + penalty * len(x) * torch.eye(x.shape[1], device=x.device)  # (F, F)
    weights: Tensor = torch.linalg.solve(squares, x.T @ (truth - level))  # (F, D)
    predicted: Tensor = (val - mean) / std @ weights + level
    return predicted


def readable(predicted: Tensor, truth: Tensor) -> float:
    """How much of `truth` (B, D) the predictions give: of one-hot rows the share named right, of numbers the explained share
    of their variance (R2, 0 if only the mean is known)."""
    if bool(((truth == 0) | (truth == 1)).all()):
        return float((predicted.argmax(1) == truth.argmax(1)).float().mean())
    return float(1 - (predicted - truth).square().sum() / (truth - truth.mean(0)).square().sum())


@cache
def _scenes(count: int, size: int, val: bool) -> Scenes:
    start = VAL_START if val else 0
    return scenes(range(start, start + count), size=size)


def class_left(view: View, train: int = 600, val: int = 300) -> float:
    """The share of `val` new scenes whose class a linear map of `patch_statistics` names, from one such view of each."""
    drawn = [_scenes(train, view.size, False), _scenes(val, view.size, True)]
    made = [Views((view,), 0)(part.images, i, torch.arange(len(part.images)))[0] for i, part in enumerate(drawn)]
    truth = [facts(part)["class"] for part in drawn]
    predicted = predict_linearly(patch_statistics(made[0]), truth[0], patch_statistics(made[1]))
    return readable(predicted, truth[1])


def shortcut(
    views: Sequence[View], features: Callable[[Tensor], Tensor] = colour_histogram, images: int = 256
) -> float:
    """The share of scenes whose second view is found from the first by nothing but `features`, among that many."""
    drawn = _scenes(images, views[0].size, False).images
    one, other = Views(tuple(views), 0)(drawn, 0, torch.arange(images))
    return partners_found(features(one), features(other))
