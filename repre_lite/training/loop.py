"""The training loop: one step in the order of Algorithm 1, and a generator of logged steps."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.cache import cached
from ..data.files import FileImages
from ..data.image_set import Source
from ..data.loaders import Batches, share_of_batch
from ..data.stream import StepCrops, Stream
from ..data.views import Views
from ..evaluation.collapse import effective_rank, embedding_std, patch_cosine
from ..hide import hidden_patches
from ..recipes import Recipe, identity
from ..repre import Losses, RePre
from ..runs import checkpoint_of, images_of
from ..runtime import distributed
from ..runtime.compiling import check_compiler
from ..runtime.device import check_training_modes, pick_device, pick_precision, precise, set_threads
from ..runtime.errors import NonFiniteError
from ..runtime.memory import enough_memory
from ..runtime.randomness import fork
from .optim import build_optimiser, clip, decay_at, rate_at, set_schedule
from .step import Step

WATCHED = 256  # images of a step, over all processes, whose patches are compared when it is logged


class Training:
    """Images, views, model and optimiser of a run, and the number of steps done.

    `advance` takes a step and never waits for the device; `report` reads its numbers, which waits. `source` replaces the
    images of the recipe. Raises UserError for a recipe that does not fit the images, the device or timm, and inside
    `torch.no_grad` or an autocast.
    """

    def __init__(self, recipe: Recipe, source: Source | None = None) -> None:
        set_threads()
        self.recipe = recipe
        self.device = pick_device(recipe.device)
        check_training_modes(self.device)
        self.precision = pick_precision(recipe.precision, self.device)
        if recipe.compile:
            check_compiler(self.device)
        distributed.start(self.device)
        share_of_batch(recipe.batch_size, distributed.world_size())
        self.model = RePre.from_recipe(recipe)  # before the images: reading them may take long
        self.source = source or images_of(recipe)
        images = self.source.train.images
        self.images = None if isinstance(images, FileImages) else images.to(self.device)
        self.batches = Batches(
            len(self.source.train), recipe.batch_size, recipe.seed, distributed.rank(), distributed.world_size()
        )
        self.model.normalise_by(self.source.mean, self.source.std)
        self.views = Views(recipe.views, recipe.seed, compile=recipe.compile)
        self.crops: StepCrops | None = None
        self.stream: Stream | None = None
        if isinstance(images, FileImages):
            held = images if recipe.images == "decode" else cached(images, recipe.workers)
            self.crops = StepCrops(held, self.batches, self.views)
        self.model.to(self.device, self.precision.weights)
        self.optimiser = build_optimiser(self.model, recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.scaled)
        self.forward: Any = torch.compile(self.model) if recipe.compile else self.model
        if distributed.world_size() > 1:
            alone = recipe.framework == "none"  # nothing uses the encoder's last norm then
            self.forward = distributed.parallel(self.forward, find_unused_parameters=alone)
        self.step = 0
        self.total_steps = recipe.steps or recipe.epochs * self.batches.steps_per_epoch
        self.first_bad_step = torch.full((), torch.iinfo(torch.int64).max, device=self.device)
        self._finite_at = 0  # the last step that `check_finite` has passed

    @property
    def epoch(self) -> int:
        """The epoch of the next step, from 0."""
        return self.step // self.batches.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up: the same share of a shortened run as of the whole one."""
        return round(min(1.0, self.recipe.warmup_epochs / self.recipe.epochs) * self.total_steps)

    def advance(self) -> tuple[Losses, list[Tensor]]:
        """Take one step: views, losses, backward, optimiser, target. Returns losses and views, still being computed."""
        recipe, step = self.recipe, self.step
        views = self.make_views()
        rate = rate_at(recipe, step, self.total_steps, self.warmup_steps)
        set_schedule(self.optimiser, rate, decay_at(recipe, step, self.total_steps))
        self.model.framework.set_epoch(
            step * recipe.epochs // self.total_steps
        )  # of the whole recipe, also in a shortened run
        # drop-path and dropout, the only other random numbers of a step, from a stream of their own
        own = fork(recipe.seed, f"drop-path/{step}/{distributed.rank()}", self.device)
        with own, self.precision.autocast(self.device):
            losses: Losses = self.forward(views, self.hidden())
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses.total).backward()
        self.scaler.unscale_(self.optimiser) if self.precision.scaled else None
        self.model.framework.drop_gradients()
        losses.monitors.update(clip(self.model, recipe))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.model.framework.update_target(step, self.total_steps)

        bad = torch.where(losses.total.detach().isfinite(), self.first_bad_step, step + 1)
        self.first_bad_step = torch.minimum(self.first_bad_step, bad)
        self.step += 1
        return losses, views

    def make_views(self) -> list[Tensor]:
        """The views of the next step, (B, 3, size, size) each, on the device."""
        step, dtype = self.step, self.precision.weights
        indices, rows = self.batches.rows(step)
        rows = rows.to(self.device)
        if self.images is not None:
            return self.views(self.images[indices.to(self.device)], step, rows, dtype)
        assert self.crops is not None
        if self.stream is None or self.stream.next_step != step:
            pinned = self.device.type == "cuda"
            self.stream = Stream(self.crops, step, self.total_steps, self.recipe.workers, pinned)
        crops = [crop.to(self.device, non_blocking=True) for crop in self.stream.take()]
        return self.views.finish(crops, step, rows, dtype)

    def hidden(self) -> Tensor | None:
        """Which patches of view 1 the next step hides, bool (B, h, w) on the device; None if the recipe hides none."""
        if not self.recipe.hide:
            return None
        online = self.model.framework.online
        rows = self.batches.rows(self.step)[1].to(self.device)
        grid = online.image_size // online.patch
        return hidden_patches(self.recipe.seed, self.step, rows, self.recipe.hide, grid)

    def check_finite(self) -> None:
        """Raise NonFiniteError if the loss of any step so far, the weights or the optimiser's averages are not finite.

        All processes must call it, and all agree.
        """
        if self._finite_at == self.step:
            return
        finite = nn.utils.get_total_norm(self._tensors(), math.inf).isfinite()
        bad_loss = int(distributed.all_min(self.first_bad_step))
        bad_weights = not int(distributed.all_min(finite.long()))
        if bad_loss > self.step and not bad_weights:
            self._finite_at = self.step
            return
        step = min(bad_loss, self.step)
        what = "the loss is" if bad_loss <= self.step else "the weights are"
        raise NonFiniteError.after(step, what)

    def _tensors(self) -> list[Tensor]:
        """Everything that a step changes and that must stay finite."""
        held = [*self.model.state_dict().values()]
        for state in self.optimiser.state.values():
            held += [value for name, value in state.items() if name != "step"]
        return [x for x in held if isinstance(x, Tensor) and x.is_floating_point() and x.numel()]

    def logs(self) -> bool:
        """Whether the step just taken is logged: at least a hundred steps of a run are, with the first and the last one."""
        return self.step % self.log_every == 0 or self.step in (1, self.total_steps)

    @property
    def log_every(self) -> int:
        """Steps from one that is logged to the next."""
        return max(1, min(50, self.total_steps // 100))

    def report(self, losses: Losses, views: list[Tensor], images_per_second: float) -> Step:
        """Read the numbers of the step just taken, those of the whole batch. Raises NonFiniteError if they are not finite."""
        self.check_finite()
        weights = self.model.weights
        # the same images on any number of processes, if the share of each is a multiple of the stride
        watched = losses.last_tap[:: -(-self.recipe.batch_size // WATCHED)]
        scalars = {
            "total": losses.total,
            "contrastive": losses.contrastive,
            "reconstruction": losses.reconstruction,
            "weight_contrastive": weights[0],
            "weight_reconstruction": weights[1],
            "patch_cosine": patch_cosine(watched).mean(),
            **losses.monitors,
        }
        present = {name: precise(value.detach()) for name, value in scalars.items() if value is not None}
        numbers = dict(zip(present, distributed.all_mean(torch.stack(list(present.values()))).tolist(), strict=True))
        embedding = distributed.gather(losses.embedding.float())  # (B, D) of the whole batch
        gauges = {"embedding_std": embedding_std(embedding), "effective_rank": effective_rank(embedding)}
        return Step(
            step=self.step,
            epoch=(self.step - 1) // self.batches.steps_per_epoch,
            losses={name: numbers.get(name) for name in ("total", "contrastive", "reconstruction")},
            weights={name: numbers.get(f"weight_{name}") for name in ("contrastive", "reconstruction")},
            lr=rate_at(self.recipe, self.step - 1, self.total_steps, self.warmup_steps),
            images_per_second=images_per_second,
            gauges=gauges | {name: numbers[name] for name in ("patch_cosine", *losses.monitors)},
            model=self.model,
            views=views,
            reconstructed=losses.reconstructed,
        )

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs; random numbers are functions of seed and step. Raises NonFiniteError."""
        self.check_finite()
        return checkpoint_of(self, identity(self.recipe))

    def load(self, state: dict[str, Any]) -> None:
        """Continue at `state`, which may come from another device with another precision."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        optimiser = state["optimiser"]
        own = self.optimiser.param_groups
        groups = [held | {"fused": group["fused"]} for held, group in zip(optimiser["param_groups"], own, strict=True)]
        self.optimiser.load_state_dict(optimiser | {"param_groups": groups})
        if state["scaler"]:  # empty if the gradients were not scaled
            self.scaler.load_state_dict(state["scaler"])
        self.first_bad_step.fill_(torch.iinfo(torch.int64).max)
        self._finite_at = -1

    def adopt(self, mean: Sequence[float], std: Sequence[float], total_steps: int) -> None:
        """Take over the normalisation and the length of a run that has begun."""
        self.source = dataclasses.replace(self.source, mean=tuple(mean), std=tuple(std))
        self.model.normalise_by(mean, std)
        self.total_steps = total_steps


def steps(training: Training) -> Iterator[tuple[Losses, list[Tensor]]]:
    """Take every remaining step without waiting for the device; yield its losses and views.

    A caller that sets parts of the model to evaluation mode must restore them.
    """
    training.model.train()
    try:
        while training.step < training.total_steps:
            yield training.advance()
    finally:
        training.stream = None  # ends the processes that read images


def training_steps(recipe: Recipe, source: Source | None = None) -> Iterator[Step]:
    """Train by `recipe` and yield each logged step: plot, inspect `step.model`, or stop by leaving the loop.

    Nothing is written; `rl.train` does the same with a run folder. `source` replaces the images of the recipe. Raises
    UserError for a recipe that does not fit, for a loss that is not finite, and if memory runs out.
    """
    with enough_memory():
        training = Training(recipe, source)
        since, start = 0, time.perf_counter()
        for losses, views in steps(training):
            if training.logs():
                rate = (training.step - since) * recipe.batch_size / (time.perf_counter() - start)
                yield training.report(losses, views, rate)
                training.model.train()  # the caller may have set it to evaluation mode
                since, start = training.step, time.perf_counter()
