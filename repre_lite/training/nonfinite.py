"""The step that made a run non-finite: found again, saved separately, and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..data.loaders import Batches
from ..runs import NONFINITE, read_recipe
from ..runtime import distributed, files
from ..runtime.errors import NonFiniteError
from .facts import facts
from .loop import Training
from .resume import check_images, load


class Rewind:
    """The last state of a training that is known to be finite, copied to the host.

    Losses are read when a step is logged, so a step that ruins the weights is noticed some steps later.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.keep()

    def keep(self) -> None:
        """Copy the present state. Raises NonFiniteError if it is not finite."""
        self.state = _copied(self.training.state())

    def save(self, path: Path) -> NonFiniteError | None:
        """Repeat the steps since `keep` and write the state before the first one that is not finite to `path`.

        Returns the error of that step, or None if it does not happen again.
        """
        training, end = self.training, self.training.step
        training.load(self.state)
        while training.step < end:
            before = _copied(training.state())
            training.advance()
            try:
                training.check_finite()
            except NonFiniteError as error:
                batches = Batches(len(training.source.train), training.recipe.batch_size, training.recipe.seed)
                if distributed.is_main():
                    files.save_checkpoint(path, before | {"indices": batches.rows(before["step"])[0]})
                return error
        return None


def replay(folder: str | Path) -> Training:
    """The training of a run that ended with a step that was not finite, in the state just before that step.

    >>> training = replay("runs/x")
    >>> with torch.autograd.detect_anomaly():
    ...     losses, views = training.advance()  # takes the step again

    nonfinite.pt holds the state, as checkpoint.pt does, and the `indices` (B,) of the images of that step. Raises
    UserError if there is none, or if the images are not those of the run.
    """
    folder = Path(folder)
    recipe, held = read_recipe(folder)
    training = Training(recipe)
    check_images(held, facts(training), folder)
    training.adopt(held["mean"], held["std"], held["total_steps"])
    load(training, folder / NONFINITE, held)
    training.model.train()
    return training


def _copied(value: Any) -> Any:
    """A copy of nested containers, with their tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
