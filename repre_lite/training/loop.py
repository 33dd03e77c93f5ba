"""The training loop: one step in the order of algorithm 1, and a generator over them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.cache import cached
from ..data.files import FileImages
from ..data.image_set import Source
from ..data.loaders import Batches
from ..data.sources import load_source
from ..data.stream import StepCrops, Stream
from ..data.views import Views
from ..evaluation.collapse import effective_rank, embedding_std
from ..recipes import Recipe
from ..repre import Losses, RePre
from ..runtime import distributed
from ..runtime.device import pick_device, pick_precision, set_threads
from ..runtime.errors import UserError
from ..runtime.randomness import generator
from .optim import build_optimiser, clip, decay_at, rate_at, set_schedule


@dataclass(frozen=True)
class Step:
    """What a logged step shows: `step` counts from 1, `losses` and `weights` are plain numbers (None where absent),
    `gauges` the collapse gauges and the framework's own; `views` and `reconstructed` are this step's, on the device."""

    step: int
    epoch: int
    losses: dict[str, float | None]
    weights: dict[str, float | None]
    lr: float
    images_per_second: float
    gauges: dict[str, float]
    model: RePre
    views: list[Tensor]
    reconstructed: Tensor | None

    def record(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "loss": self.losses["total"],
            "contrastive": self.losses["contrastive"],
            "reconstruction": self.losses["reconstruction"],
            "weight_contrastive": self.weights["contrastive"],
            "weight_reconstruction": self.weights["reconstruction"],
            "lr": self.lr,
            "images_per_second": self.images_per_second,
            **self.gauges,
        }


class Training:
    """Everything a run is made of: pictures, views, model, optimiser, and the step it has reached.

    `advance` does one step and never waits for the device; `report` reads its numbers, which does.
    """

    def __init__(self, recipe: Recipe, source: Source | None = None) -> None:
        set_threads()
        self.recipe = recipe
        self.device = pick_device(recipe.device)
        self.precision = pick_precision(recipe.precision, self.device)
        distributed.start(self.device)
        self.source = source or load_source(
            recipe.scale,
            recipe.data,
            recipe.image_size,
            recipe.train_images,
            recipe.seed,
            recipe.skip_unreadable,
            recipe.max_pixels,
        )
        images = self.source.train.images
        self.images = None if isinstance(images, FileImages) else images.to(self.device)
        self.batches = Batches(
            len(self.source.train), recipe.batch_size, recipe.seed, distributed.rank(), distributed.world_size()
        )
        self.model = RePre.from_recipe(recipe, self.source.mean, self.source.std)
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
            alone = recipe.framework == "none"  # then nothing asks the encoder's last norm
            self.forward = torch.nn.parallel.DistributedDataParallel(
                self.forward, broadcast_buffers=False, find_unused_parameters=alone, gradient_as_bucket_view=True
            )
        self.step = 0
        self.total_steps = recipe.steps or recipe.epochs * self.batches.steps_per_epoch
        # a shortened run keeps the shape of its schedule
        share = min(1.0, recipe.warmup_epochs / max(1, recipe.epochs))
        self.warmup_steps = round(share * self.total_steps)
        self.first_bad_step = torch.full((), torch.iinfo(torch.int64).max, device=self.device)

    @property
    def epoch(self) -> int:
        """The epoch the next step belongs to, from 0."""
        return self.step // self.batches.steps_per_epoch

    def advance(self) -> tuple[Losses, list[Tensor]]:
        """One step: views, losses, backward, optimiser, target."""
        recipe, step = self.recipe, self.step
        views = self.make_views()
        rate = rate_at(recipe, step, self.total_steps, self.warmup_steps)
        set_schedule(self.optimiser, rate, decay_at(recipe, step, self.total_steps))
        if recipe.drop_path:  # the one other draw of a step; its stream does not depend on what ran before
            name = f"drop-path/{step}/{distributed.rank()}"
            torch.manual_seed(generator(recipe.seed, name).initial_seed())

        self.model.framework.set_epoch(step * recipe.epochs // self.total_steps)  # of the recipe, also where shortened
        with self.precision.autocast(self.device):
            losses: Losses = self.forward(views)
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

    def check_finite(self) -> None:
        """Raise UserError if any step so far had a loss that is not finite, naming the first."""
        first = int(self.first_bad_step)
        if first <= self.step:
            raise UserError(
                f"step {first}: the loss is not finite, so the run ends here and nothing of it is saved; "
                "try a lower --lr, a longer --warmup-epochs or --precision fp32"
            )

    def logs(self) -> bool:
        """Whether the step just taken is a logged one: about a hundred a run, the first and the last among them."""
        every = max(1, min(50, self.total_steps // 100))
        return self.step % every == 0 or self.step in (1, self.total_steps)

    def report(self, losses: Losses, views: list[Tensor], images_per_second: float) -> Step:
        """Read the numbers of the step just taken from the device, averaged over processes."""
        self.check_finite()
        weights = self.model.weights
        scalars = {
            "total": losses.total,
            "contrastive": losses.contrastive,
            "reconstruction": losses.reconstruction,
            "weight_contrastive": weights[0],
            "weight_reconstruction": weights[1],
            **losses.monitors,
        }
        present = {name: value.detach().double() for name, value in scalars.items() if value is not None}
        numbers = dict(zip(present, distributed.all_mean(torch.stack(list(present.values()))).tolist(), strict=True))
        embedding = losses.embedding.detach().float()
        gauges = {"embedding_std": embedding_std(embedding), "effective_rank": effective_rank(embedding)}
        return Step(
            step=self.step,
            epoch=(self.step - 1) // self.batches.steps_per_epoch,
            losses={name: numbers.get(name) for name in ("total", "contrastive", "reconstruction")},
            weights={name: numbers.get(f"weight_{name}") for name in ("contrastive", "reconstruction")},
            lr=rate_at(self.recipe, self.step - 1, self.total_steps, self.warmup_steps),
            images_per_second=images_per_second,
            gauges=gauges | {name: numbers[name] for name in losses.monitors},
            model=self.model,
            views=views,
            reconstructed=losses.reconstructed,
        )

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs; random draws need nothing, they are functions of seed and step."""
        self.check_finite()
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])


def steps(training: Training) -> Iterator[tuple[Losses, list[Tensor]]]:
    """Every remaining step, without waiting for the device. Who sets parts of the model to evaluation sets them back."""
    training.model.train()
    try:
        while training.step < training.total_steps:
            yield training.advance()
    finally:
        training.stream = None  # lets the processes go that read pictures


def training_steps(recipe: Recipe, source: Source | None = None) -> Iterator[Step]:
    """Train by `recipe` and yield after each logged step: plot, stop by leaving the loop, look into `step.model`.

    Writes nothing; `rl.train` is this with a run folder around it. `source` replaces the recipe's pictures.
    """
    training = Training(recipe, source)
    since, start = 0, time.perf_counter()
    for losses, views in steps(training):
        if training.logs():
            rate = (training.step - since) * recipe.batch_size / (time.perf_counter() - start)
            yield training.report(losses, views, rate)
            training.model.train()  # who looked into it may have left it in evaluation mode
            since, start = training.step, time.perf_counter()
