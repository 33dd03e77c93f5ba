"""What a run needs, before you pay for it: operations, memory, input, hours, and what each figure assumes."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.cache import build_cache
from ..data.files import FileImages
from ..data.image_set import ImageSet, Source
from ..data.loaders import Batches
from ..data.loading import IN_MEMORY
from ..data.scenes import scenes
from ..data.sources import IMAGENET
from ..data.stream import StepCrops
from ..data.tree import STL_SIDE
from ..data.views import Views
from ..recipes import Recipe, override, recipe
from ..repre import RePre
from ..runs import images_of
from ..runtime import flops
from ..runtime.device import describe_device, pick_device, set_threads
from ..runtime.errors import UserError
from ..runtime.memory import enough_memory
from ..training.loop import Training, steps
from .costs import activations, cores, step_flops
from .gpus import GIB, GPU, parse_gpus
from .images import image_count

SHARE = (0.25, 0.40)  # of its peak that a GPU is assumed to reach in such a step, low and high
RESERVE = 1.5 * GIB  # per GPU: CUDA itself, library workspaces
MOMENTARY = 1.1  # activations times this: short-lived tensors, and gaps between blocks of memory
LAUNCH = 6e-3  # seconds the host needs to launch a step and its views, even small ones
# Images/s from which a core of a recent server crops both 224-pixel views. results/loader.json measures 950 and 3,160 with
# files of 28 kB, shorter side 256; ImageNet's own have 110 kB and decode about three times as slowly
DECODE, CACHED = 340, 3_000


@dataclass(frozen=True)
class Plan:
    """All figures of a plan. Memory is in bytes, per GPU or per image as named; FLOPs are per image."""

    recipe: Recipe
    gpus: int
    gpu: GPU
    images: int  # to train on
    parameters: dict[str, int]  # encoder, heads, decoder, target
    flops: int  # of a step, per image
    flops_plain: int  # the same without the branch
    flops_checkpointed: int
    memory: dict[str, int]  # per GPU, by part: what does not grow with the batch
    activations: int  # per image
    activations_checkpointed: int

    @property
    def largest_batch(self) -> int:
        """Images of a step that fit one GPU."""
        return self._largest(self.activations)

    @property
    def largest_batch_checkpointed(self) -> int:
        """The same with activation checkpointing."""
        return self._largest(self.activations_checkpointed)

    def _largest(self, each: int) -> int:
        """Images for which a GPU has memory, a multiple of 8."""
        room = self.gpu.memory - RESERVE - sum(self.memory.values())
        return max(0, int(room / (MOMENTARY * each)) // 8 * 8)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.recipe.steps or self.recipe.epochs * (self.images // self.recipe.batch_size)

    @property
    def checkpointing(self) -> bool:
        """Whether the recipe's batch needs activation checkpointing, or asks for it."""
        return self.recipe.activation_checkpointing or self.recipe.batch_size > self.gpus * self.largest_batch

    @property
    def flops_of_step(self) -> int:
        """Operations of a step of this run, per image."""
        return self.flops_checkpointed if self.checkpointing else self.flops

    def images_per_second(self, share: float) -> float:
        """Images/s of all GPUs together if each reaches `share` of its peak; no faster than the host can launch steps."""
        return min(self.gpus * self.gpu.peak * share / self.flops_of_step, self.recipe.batch_size / LAUNCH)

    def hours(self, images_per_second: float) -> float:
        """Hours of the whole run at a speed."""
        return self.steps * self.recipe.batch_size / images_per_second / 3600

    def advice(self) -> str:
        """Whether the batch fits and how, or which batch would."""
        batch, most = self.recipe.batch_size, self.gpus * self.largest_batch_checkpointed
        if batch <= self.gpus * self.largest_batch:
            return f"batch {batch} fits"
        if batch <= most:
            return f"batch {batch} fits with activation checkpointing"
        if most == 0:
            return "not even 8 images fit on a GPU; use larger GPUs or a smaller encoder"
        needed = -(-batch // self.largest_batch_checkpointed)
        return (
            f"batch {batch} does not fit; the largest that fits is {most}, with activation checkpointing; or use "
            f"{needed} of these GPUs (gradient accumulation is not offered, because it changes the contrastive loss)"
        )


def build_plan(recipe: Recipe, gpus: int, gpu: GPU) -> Plan:
    """Count what can be known without the GPUs, in seconds on a CPU.

    Raises UserError if the recipe does not fit the GPUs (`precision`, `batch_size`) or its images.
    """
    if recipe.precision not in ("auto", gpu.half):
        raise UserError(f"precision={recipe.precision}: a plan for {gpu.name} is made for {gpu.half}; leave it out")
    if recipe.batch_size % gpus:
        raise UserError(f"batch_size={recipe.batch_size} cannot be split over {gpus} GPUs; give a multiple of {gpus}")
    count = image_count(recipe)
    checkpointed = dataclasses.replace(recipe, activation_checkpointing=True)
    straight = dataclasses.replace(recipe, activation_checkpointing=False)
    plain = straight if recipe.framework == "none" else dataclasses.replace(straight, reconstruction="none")
    with torch.device("meta"):
        model = RePre.from_recipe(straight)
    framework = model.framework
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    everything = flops.parameters(model)
    encoder = flops.parameters(framework.online)
    decoder = 0 if model.decoder is None else flops.parameters(model.decoder)
    target = sum(flops.parameters(part) for name, part in framework.named_children() if name.startswith("target_"))
    once, each, block = activations(straight)
    once_checkpointed, each_checkpointed, _ = activations(checkpointed)
    memory = {
        "weights": 4 * (everything - target),
        "target": 4 * target + sum(4 * b.numel() for b in model.buffers()),
        "gradients": 4 * trained,
        "optimiser": 8 * trained,
        f"{gpu.half} copies of weights": max(once, once_checkpointed),
    }
    if recipe.image_size <= IN_MEMORY:
        memory["images"] = count * 3 * (STL_SIDE if recipe.scale == "stl10" else recipe.image_size) ** 2
    return Plan(
        recipe=recipe,
        gpus=gpus,
        gpu=gpu,
        images=count,
        parameters={"encoder": encoder, "heads": everything - encoder - decoder - target, "decoder": decoder, "target": target},
        flops=step_flops(straight),
        flops_plain=step_flops(plain),
        flops_checkpointed=step_flops(checkpointed),
        memory=memory,
        activations=each,
        activations_checkpointed=each_checkpointed + block,
    )  # fmt: skip


def describe(plan: Plan) -> str:
    """The plan as lines: name, figure and assumption."""
    recipe, gpu = plan.recipe, plan.gpu
    low, high = (plan.images_per_second(share) for share in SHARE)
    fixed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in plan.memory.items())
    million = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in plan.parameters.items() if count)
    branch = f"; the branch adds {plan.flops / plan.flops_plain - 1:.1%}" if plan.flops_plain != plan.flops else ""
    lines = [
        f"{recipe.scale}, {recipe.framework}, {recipe.arch} at {recipe.image_size} pixels, reconstruction "
        f"{recipe.reconstruction}, batch {recipe.batch_size} on {plan.gpus} x {gpu.name}, {gpu.half}",
        f"parameters   {sum(plan.parameters.values()) / 1e6:.1f} million: {million}",
        f"step         {plan.flops / 1e9:.1f} GFLOP per image, counted{branch}; "
        f"{plan.flops_checkpointed / 1e9:.1f} with activation checkpointing",
        f"memory       {sum(plan.memory.values()) / GIB:.2f} GiB per GPU before any image: {fixed}",
        f"             {plan.activations / 2**20:.1f} MiB per image, {plan.activations_checkpointed / 2**20:.1f} with "
        f"activation checkpointing, counted on the CPU; {MOMENTARY - 1:.0%} and {RESERVE / GIB} GiB of {gpu.memory / GIB:.0f} GiB are kept free",
        f"             largest batch per GPU {plan.largest_batch}, with activation checkpointing {plan.largest_batch_checkpointed}",
        f"             {plan.advice()}",
        f"speed        {low:,.0f} to {high:,.0f} images/s: {SHARE[0]:.0%} to {SHARE[1]:.0%} of {gpu.peak / 1e12:.0f} TFLOP/s "
        f"per GPU (assumed), and at least {LAUNCH * 1e3:.0f} ms per step to launch it",
    ]
    if recipe.image_size > IN_MEMORY:
        lines += [
            f"input        to keep up: {cores(low / DECODE, high / DECODE)} to decode, {cores(low / CACHED, high / CACHED)} from "
            f"a cache ({DECODE} and {CACHED:,} images/s per core for files of 110 kB)",
            f"             the cache takes about {plan.images * 3 * 256 * 341 / 1e9:.0f} GB of disk",
        ]
    else:
        lines.append("input        views are made on the GPU from images in its memory; no cores needed")
    epochs = plan.steps / max(1, plan.images // recipe.batch_size)  # of whole batches
    return "\n".join(
        [*lines, f"time         {plan.steps:,} steps, {epochs:.3g} epochs of {plan.images:,} images: {plan.hours(high):.1f} to {plan.hours(low):.1f} hours"]
    )  # fmt: skip


def measure_step(recipe: Recipe, count: int = 20) -> tuple[float, int, str]:
    """Images/s of `count` real steps on this machine's device after three to warm up, the batch they had, the device.

    The batch is the recipe's, but on a CPU no larger than it computes in seconds. With the recipe's `data`, images are
    read as in training; without it, scenes in memory are augmented. Raises UserError if memory runs out.
    """
    device = pick_device(recipe.device)
    fit = recipe.batch_size if device.type != "cpu" else 64 if recipe.image_size <= IN_MEMORY else 8
    batch = min(recipe.batch_size, fit)
    source = None
    if recipe.data is None:
        images = scenes(range(batch), size=recipe.image_size).images
        source = Source("scenes", ImageSet(images, None, ()), None, *IMAGENET, 0, "")
    with enough_memory():
        training = Training(dataclasses.replace(recipe, batch_size=batch, steps=3 + count, warmup_epochs=0), source)
        stepping = steps(training)

        def take(number: int) -> float:
            start = time.perf_counter()
            for _ in range(number):
                next(stepping)
            training.check_finite()  # reads from the device, so waits for it
            return time.perf_counter() - start

        take(3)
        return count * batch / take(count), batch, describe_device(device)


def measure_input(recipe: Recipe, count: int = 128) -> dict[str, float]:
    """Images/s that one process of this machine reads from the recipe's files, by `images`; empty for small images."""
    images = images_of(recipe).train.images
    if not isinstance(images, FileImages):
        return {}
    count = min(count, len(images))
    images, batches = images.only(range(count)), Batches(count, count, recipe.seed)
    views = Views(recipe.views, recipe.seed)
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, held in (
            ("decode", images),
            ("cached", build_cache(images.paths, Path(folder) / "cache", 0, images.decoding)),
        ):
            crops = StepCrops(held, batches, views)
            crops[0]
            start = time.perf_counter()
            crops[1]
            rates[name] = count / (time.perf_counter() - start)
    return rates


def measure_here(plan: Plan) -> str:
    """How fast one device of this machine is, in lines like those of `describe`: 20 real steps of one GPU's share of the
    batch, as far as it fits, and reading if `data` is given."""
    recipe = plan.recipe
    fits = plan.largest_batch_checkpointed if plan.checkpointing else plan.largest_batch
    share = max(2, min(recipe.batch_size // plan.gpus, fits or 8))
    rate, batch, device = measure_step(
        dataclasses.replace(recipe, batch_size=share, activation_checkpointing=plan.checkpointing)
    )
    lines = [
        f"here         {rate:,.1f} images/s in 20 steps of {batch} on {device}: {rate * plan.flops_of_step / 1e9:,.0f} GFLOP/s; "
        f"the whole run would take {plan.hours(rate):,.1f} hours"
    ]
    for name, read in (measure_input(recipe) if recipe.data and recipe.image_size > IN_MEMORY else {}).items():
        most = -int(-plan.images_per_second(SHARE[1]) // read)
        lines.append(f"             {name}: {read:,.0f} images/s from one process, so at most {most} process{'es are' if most > 1 else ' is'} needed")  # fmt: skip
    return "\n".join(lines)


def plan(gpus: str, measure: bool, assignments: Sequence[str], **options: Any) -> int:
    """`repre-lite plan`: print what a run needs on `gpus`; with `measure` also how fast this machine is."""
    set_threads()
    made = build_plan(override(recipe(**options), assignments), *parse_gpus(gpus))
    print(describe(made))
    if measure:
        print(measure_here(made))
    return 0
