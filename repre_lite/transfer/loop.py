"""The training loop of a transfer run: model, optimiser, schedule and one step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..data.loaders import Batches
from ..data.workers import items
from ..evaluation.source import read_source
from ..runs import checkpoint_of
from ..runtime import distributed
from ..runtime.device import Precision, check_training_modes, pick_device, pick_precision, precise, set_threads
from ..runtime.errors import NonFiniteError, UserError
from ..runtime.randomness import fork
from ..runtime.weights import fingerprint
from .backbone import DenseBackbone
from .settings import TransferRecipe, identity


class Task(Protocol):
    """What a task is made of; `Segmentation` and `Detection` are the two.

    `recipe`: completed for the encoder and the images. `model`: an encoder as `backbone` and heads, its forward returns
    losses by name, whose means over processes are those of the whole batch. `dataset[step]` is the batch of a step.
    """

    recipe: TransferRecipe
    model: Any
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batches: Batches
    dataset: Dataset[Any]

    @property
    def kind(self) -> str:
        """The task's name."""

    @property
    def count(self) -> int:
        """The number of training images."""

    @property
    def fingerprint(self) -> str:
        """Changes if the images or annotations do."""

    def to_device(self, batch: Any, step: int, device: torch.device) -> tuple[Any, ...]:
        """A training batch as the model takes it."""

    def evaluate(self, device: torch.device, precision: Precision, quiet: bool = False) -> dict[str, Any]:
        """Scores over the whole validation set, the same in all processes."""

    def draw(self, device: torch.device, folder: Path) -> None:
        """Write predictions beside the truth into `folder`."""


class Transfer:
    """A task being learned, and the number of steps done.

    Raises UserError for an encoder, images, device or settings that do not fit together.
    """

    def __init__(self, recipe: TransferRecipe, untrained: bool = False) -> None:
        set_threads()
        self.device = pick_device(recipe.device)
        check_training_modes(self.device)
        self.precision = pick_precision(recipe.precision, self.device)
        distributed.start(self.device)
        source = read_source(recipe.source, recipe.arch, recipe.image_size, recipe.seed)
        if source.random and recipe.control:
            raise UserError("control=True: the source random is the control; leave one of the two out")
        encoder = source.untrained() if untrained else source.encoder
        self.encoder_fingerprint = fingerprint(encoder.backbone)
        with fork(recipe.seed, "transfer/heads"):
            self.task: Task = _task(recipe.task)(recipe, encoder, source.mean, source.std)
        self.recipe = self.task.recipe
        self.model: nn.Module = self.task.model.to(self.device, self.precision.weights)
        self.optimiser = build_optimiser(self.task.model, self.recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.scaled)
        self.forward: Any = self.model
        if distributed.world_size() > 1:
            self.forward = distributed.parallel(self.model)
        self.step = 0
        self.bad_step = torch.full((), torch.iinfo(torch.int64).max, device=self.device)

    def advance(self, batch: Any) -> dict[str, Tensor]:
        """Take one step on a batch of the task. Returns its losses, `loss` among them, still being computed."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.recipe, self.step, group["factor"])
        # drop-path is the only other draw of a step
        own = fork(self.recipe.seed, f"transfer/{self.step}/{distributed.rank()}", self.device)
        arguments = self.task.to_device(batch, self.step, self.device)
        with own, self.precision.autocast(self.device):
            losses: dict[str, Tensor] = self.forward(*arguments)
        total = torch.stack([*losses.values()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        bad = torch.where(total.detach().isfinite(), self.bad_step, self.step)
        self.bad_step = torch.minimum(self.bad_step, bad)
        return {"loss": total.detach()} | {name: value.detach() for name, value in losses.items()}

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Take every remaining step; yields its losses. A caller that changes the model's mode must restore it."""
        self.model.train()
        wanted = range(self.step, self.recipe.steps)
        workers = 0 if self.recipe.data is None else self.recipe.workers  # the scenes are in memory
        for batch in items(self.task.dataset, wanted, workers, self.device.type == "cuda"):
            yield self.advance(batch)

    def logs(self) -> bool:
        """Whether the step just taken is logged: about a hundred of a run are, with the first and the last one."""
        every = max(1, min(50, self.recipe.steps // 100))
        return self.step % every == 0 or self.step in (1, self.recipe.steps)

    def report(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """The losses of the step just taken as numbers, averaged over processes. Raises NonFiniteError if one was not."""
        self.check_finite()
        values = distributed.all_mean(torch.stack([precise(value) for value in losses.values()]))
        return dict(zip(losses, values.tolist(), strict=True))

    def check_finite(self) -> None:
        """Raise NonFiniteError if the loss of any step so far was not finite, in all processes alike."""
        bad = int(distributed.all_min(self.bad_step))
        if bad <= self.step:
            raise NonFiniteError(
                f"step {bad}: the loss is not finite, and this step is not saved; train into another out= with a "
                "lower lr=, a larger warmup_steps= or precision='fp32'",
                bad,
            )

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs; random numbers are functions of seed and step. Raises UserError if not finite."""
        self.check_finite()
        return checkpoint_of(self, identity(self.recipe))

    def load(self, state: dict[str, Any]) -> None:
        """Continue at `state`."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _task(name: str) -> Any:
    if name == "segmentation":
        from .segmentation import Segmentation

        return Segmentation
    from .detection import Detection

    return Detection


def parameter_groups(model: nn.Module, recipe: TransferRecipe) -> list[dict[str, Any]]:
    """Groups for the optimiser: encoder and head, each with and without weight decay. `factor`: of the learning rate.

    Vectors, positions and whatever timm names in `no_weight_decay` do not decay.
    """
    place, encoder = next((name, part) for name, part in model.named_modules() if isinstance(part, DenseBackbone))
    exempt = {f"{place}.model.{name}" for name in (*encoder.model.no_weight_decay(), "pos_embed", "cls_token")}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inside = name.startswith(f"{place}.")
            groups.setdefault((inside, parameter.ndim > 1 and name not in exempt), []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": 1.0 if inside else recipe.head_rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (inside, decays), parameters in groups.items()
    ]


def build_optimiser(model: nn.Module, recipe: TransferRecipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9, over `parameter_groups`."""
    groups = parameter_groups(model, recipe)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=recipe.lr)


def rate_at(recipe: TransferRecipe, step: int, factor: float = 1.0) -> float:
    """The learning rate at a step, counted from 0, of parameters whose peak is `factor` times the encoder's.

    Linear warm-up, then poly (power 0.9) from the peak to `min_lr`, the same for all parameters, as mmcv has it; or drops by
    ten.
    """
    done, peak = step / recipe.steps, recipe.lr * factor
    if recipe.schedule == "poly":
        floor = min(recipe.min_lr, peak)
        rate = floor + (peak - floor) * math.pow(1 - done, 0.9)
    else:
        rate = peak * 10.0 ** -sum(done >= share for share in (8 / 12, 11 / 12))
    return rate * min(1.0, (step + 1) / (recipe.warmup_steps + 1))
