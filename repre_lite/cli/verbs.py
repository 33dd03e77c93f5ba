"""What the verbs of the command line do."""

from __future__ import annotations

import sys
from typing import Any

from ..evaluation.score import score_encoder
from ..evaluation.source import read_source
from ..recipes import Recipe, recipe
from ..runs import SUMMARY, merge_summary
from ..runtime import distributed
from ..runtime.device import pick_device, set_threads
from ..training.train import Stopped, train


def pretrain(out: str, **options: Any) -> int:
    """`repre-lite pretrain`: train, then say what came out."""
    flags = {name: value for name, value in options.items() if value is not None and value is not False}
    wanted = recipe(**flags)
    _announce(wanted)
    try:
        run = train(wanted, out)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    finally:
        distributed.finish()
    if distributed.is_main():
        show = ("online_knn_top1", "reconstruction_l1", "images_per_second", "wall_seconds")
        print(
            f"{out}: " + ", ".join(f"{name} {run.summary[name]}" for name in show if run.summary.get(name) is not None)
        )
    return 0


def _announce(wanted: Recipe) -> None:
    """On a CPU the full size of a scale takes days: say so before it starts."""
    on_cpu = pick_device(wanted.device).type == "cpu"
    if on_cpu and wanted.size == "full" and wanted.steps is None and not wanted.arch.endswith("micro"):
        print(
            f"{wanted.scale} at full size ({wanted.arch}, {wanted.epochs} epochs) is meant for a GPU; on a CPU it takes "
            "days: the bar will tell. --size small is the form for a CPU"
        )


def evaluate(
    source: str, protocol: list[str], scale: str | None, data: str | None, train_images: int | None, device: str
) -> int:
    """`repre-lite evaluate`: each protocol on the encoder, on the same encoder untrained, and k-NN on raw pixels."""
    set_threads()
    place = pick_device(device)
    distributed.start(place)
    try:
        read = read_source(source)
        images = read.images(scale, data, train_images)
        results = score_encoder(read.encoder, read.untrained(), images, protocol, place, read.mean, read.std)
        main = distributed.is_main()
    finally:
        distributed.finish()
    if not main:
        return 0
    for name, value in results.items():
        print(f"{name:24s} {value:.4f}")
    if read.run is not None and results:
        merge_summary(read.run, results)
        print(f"written into {read.run / SUMMARY}")
    return 0
