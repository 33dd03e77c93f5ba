"""What the lessons share: their size and seed, and a figure of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..runtime.device import pick_device, set_threads
from ..runtime.errors import UserError

SIZES = ("fast", "laptop", "gpu")
T = TypeVar("T")


def size() -> str:
    """fast (seconds, for checking), laptop or gpu: REPRE_LITE_SIZE, or fast if REPRE_LITE_FAST=1."""
    chosen = os.environ.get("REPRE_LITE_SIZE") or ("fast" if os.environ.get("REPRE_LITE_FAST") == "1" else "laptop")
    if chosen not in SIZES:
        raise UserError(f"REPRE_LITE_SIZE={chosen}: choose one of {', '.join(SIZES)}")
    return chosen


def pick(fast: T, laptop: T, gpu: T) -> T:
    """The value that belongs to `size()`."""
    return {"fast": fast, "laptop": laptop, "gpu": gpu}[size()]


def begin(seed: int = 0) -> torch.device:
    """Seed torch, limit the threads, print size, seed and device, and return the device to use."""
    set_threads()
    torch.manual_seed(seed)
    device = pick_device("auto") if size() == "gpu" else torch.device("cpu")
    print(f"size {size()}, seed {seed}, {device.type}")
    return device


def you_are_here(lesson: str) -> Any:
    """The strip at the top of a lesson: the method with all lessons, and where the reader is; see `visualize.lessons.strip`."""
    from ..visualize.lessons import strip

    return strip.you_are_here(lesson)


def show(rows: dict[str, Tensor], captions: Sequence[str] = (), scale: float = 1.1) -> Any:
    """A figure with named rows of images, each (B, 3, H, W) in [0, 1] or uint8; values outside are clipped for display."""
    from matplotlib import pyplot as plt

    count = max(len(row) for row in rows.values())
    figure, axes = plt.subplots(
        len(rows), count, figsize=(scale * count + 0.8, scale * len(rows) + 0.3), squeeze=False, layout="compressed"
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
        for axis, image in zip(line, images, strict=False):
            x = image.detach().cpu()
            x = x.float() / 255 if x.dtype == torch.uint8 else x.float().clamp(0, 1)
            axis.imshow(x.permute(1, 2, 0).numpy(), interpolation="nearest")
        line[0].set_ylabel(name, fontsize=9)
    for axis, caption in zip(axes[-1], captions, strict=False):
        axis.set_xlabel(caption, fontsize=9)
    plt.close(figure)
    return figure
