"""A finished run, and what the protocols read of it, computed once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.image_set import Source, choose
from ..data.sources import load_source
from ..evaluation import at_size, extract_shared
from ..evaluation.kept import Keeper
from ..evaluation.score import finite
from ..recipes import Recipe
from ..runs import Run, load_run
from ..runtime.device import pick_device
from .cells import primary


@functools.lru_cache(maxsize=1)  # a process does cells of one scale, seed after seed
def _source(scale: str, data: str | None, size: int, *how: Any) -> Source:
    return load_source(scale, data, size, *how)


class Subject:
    """A finished run and what several protocols read of it, computed once."""

    def __init__(self, folder: Path, recipe: Recipe, transfer_data: str | None = None) -> None:
        self.folder, self.recipe, self.transfer_data = folder, recipe, transfer_data
        self.device = pick_device(recipe.device)
        self.keeper = Keeper(folder)  # of a protocol that trains

    @functools.cached_property
    def run(self) -> Run:
        """The run, its model on the device."""
        run = load_run(self.folder)
        run.model.to(self.device)
        return run

    @functools.cached_property
    def source(self) -> Source:
        """The images it was trained on, and the validation images."""
        held = self.run.recipe
        seed = 0 if held.scale == "scenes" else held.seed
        how = held.train_images, seed, held.skip_unreadable, held.max_pixels
        return _source(held.scale, held.data, held.image_size, *how)

    def features(self, blocks: int | None = None, patches: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (n, C) and labels (n,) of the labelled training images, then of the validation images.

        The pooled feature; or `blocks` and `patches`, see `extract`.
        """
        train, val = self.source.labelled, self.source.val
        assert train is not None and val is not None and train.labels is not None and val.labels is not None
        x, x_val = (
            finite(extract_shared(self.run.evaluated, part.images, self.run.mean, self.run.std, blocks, patches))
            for part in (train, val)
        )
        return x, train.labels, x_val, val.labels

    @functools.cached_property
    def pooled(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`features` of the pooled feature."""
        return self.features()

    @functools.cached_property
    def few(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`pooled` with a 64th of the training images, as evenly over classes as possible, drawn by the run's seed."""
        x, labels, x_val, labels_val = self.pooled
        chosen = choose(labels, max(1, len(labels) // primary()["few"]), self.recipe.seed)
        return x[chosen.to(x.device)], labels[chosen], x_val, labels_val

    def view(self, count: int) -> Tensor:
        """Up to `count` whole validation images (B, 3, H, W) in [0, 1] on the device, as an encoder sees them."""
        part = (self.source.val or self.source.train).subset(count)
        return at_size(part.images[:], self.recipe.image_size).to(self.device)
