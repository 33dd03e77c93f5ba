"""What the verbs of the command line do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from ..evaluation.doctor import examine
from ..evaluation.protocols import run_protocols
from ..evaluation.source import RANDOM, read_source
from ..recipes import SCALES, Recipe, override, recipe
from ..runs import SUMMARY, read_json
from ..runtime import distributed
from ..runtime.device import pick_device, set_threads
from ..runtime.progress import say
from ..training.train import train
from .options import in_options


def pretrain(out: str, assignments: Sequence[str], **options: Any) -> int:
    """`repre-lite pretrain`: train, then print the results."""
    wanted = override(recipe(**options), assignments)
    _announce(wanted)
    run = train(wanted, out)
    if distributed.is_main():
        show = ("online_knn_top1", "reconstruction_l1", "images_per_second", "wall_seconds")
        print(
            f"{out}: " + ", ".join(f"{name} {run.summary[name]}" for name in show if run.summary.get(name) is not None)
        )
    return 0


def _announce(wanted: Recipe) -> None:
    """Print the learning rate; and warn if the full size of a scale is about to run on a CPU, where it takes days."""
    say(f"learning rate {wanted.peak_lr:g} (base {wanted.base_lr:g} for 256 images, batch {wanted.batch_size})")
    on_cpu = pick_device(wanted.device).type == "cpu"
    if on_cpu and wanted.size == "full" and wanted.steps is None and not wanted.arch.endswith("micro"):
        say(
            f"{wanted.scale} at full size ({wanted.arch}, {wanted.epochs} epochs) is meant for a GPU; on a CPU it takes "
            "days. Use --size small on a CPU"
        )


def evaluate(
    source: str,
    protocol: list[str],
    scale: str | None,
    data: str | None,
    train_images: int | None,
    blocks: int | None,
    ignore_label: int,
    epochs: int | None,
    arch: str | None,
    image_size: int | None,
    seed: int,
    device: str,
) -> int:
    """`repre-lite evaluate`: each protocol on the encoder and on the same encoder untrained, into the run's summary."""
    set_threads()
    place = pick_device(device)
    distributed.start(place)
    if source == RANDOM and image_size is None and scale is not None:
        image_size = SCALES[scale]["image_size"]
    read = read_source(source, arch, image_size, seed)
    if read.run is not None and not os.access(read.run, os.W_OK):
        say(f"{read.run}: cannot be written, so the results are only printed")
        read = dataclasses.replace(read, run=None)
    if read.run is not None and not read.finished:
        say(
            f"{read.run}: not finished; the results are of step {read.steps} and leave {SUMMARY} if it is trained further"
        )
    results = run_protocols(read, protocol, place, scale, data, train_images, blocks, ignore_label, epochs)
    if (
        distributed.is_main()
        and read.run is not None
        and results
        and read_json(read.run / SUMMARY).get("steps") == read.steps
    ):
        print(f"written to {read.run / SUMMARY}")
    return 0


def doctor(run_folder: str) -> int:
    """`repre-lite doctor`: what the metrics of a run show, a line for each finding."""
    for finding in examine(run_folder):
        print(in_options(str(finding)))
    return 0
