"""Which images each step sees: a permutation an epoch, random access by step, so resuming needs no state."""

from __future__ import annotations

import torch
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.randomness import generator


def share_of_batch(batch_size: int, world: int) -> int:
    """Images of a batch for each of `world` processes. Raises UserError if it cannot be shared evenly."""
    if batch_size % world:
        raise UserError(f"batch_size={batch_size} cannot be shared by {world} processes; give a multiple of {world}")
    return batch_size // world


class Batches:
    """Batches of `batch_size` (global) out of `count` images; the last incomplete one of an epoch is dropped.

    Each of several processes takes its share of every batch. Raises UserError if a batch cannot be filled or shared.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_size > count:
            raise UserError(
                f"batch_size={batch_size} is larger than the number of training images, {count}; make it smaller"
            )
        share = share_of_batch(batch_size, world)
        self.count, self.seed = count, seed
        self.batch_size, self.share, self.first = batch_size, share, rank * share
        self.steps_per_epoch = count // batch_size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> tuple[Tensor, Tensor]:
        """For step `step` of the run: the images of this process, and their rows in the global batch, int64 (B,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(self.count, generator=generator(self.seed, f"order/{epoch}"))
        rows = torch.arange(self.first, self.first + self.share)
        return self._order[position * self.batch_size + rows], rows
