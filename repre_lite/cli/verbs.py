"""What the verbs of the command line do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..data.sources import load_source
from ..encoder import TappedEncoder
from ..evaluation.score import score
from ..recipes import Recipe, recipe
from ..repre import RePre
from ..runs import load_run, merge_summary
from ..runtime import distributed
from ..runtime.device import pick_device, set_threads
from ..runtime.errors import UserError
from ..training.train import Stopped, train
from .export import read_encoder


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
    path, place = Path(source), pick_device(device)
    distributed.start(place)
    if path.is_dir():
        run = load_run(path)
        encoder, held, mean, std = run.evaluated, run.recipe, list(run.mean), list(run.std)
        fresh: TappedEncoder = RePre.from_recipe(held, mean, std).framework.evaluated
        pictures = load_source(
            scale or held.scale,
            data or held.data,
            held.image_size,
            train_images or held.train_images,
            held.seed,
            held.skip_unreadable,
        )
    else:
        encoder, fresh, mean, std = read_encoder(path)
        if scale is None:
            raise UserError(f"{source}: an encoder file does not know its pictures; say which with --scale and --data")
        pictures = load_source(scale, data, encoder.image_size, train_images, 0)
    results = score(encoder, fresh, pictures, protocol, place, mean, std)
    main = distributed.is_main()
    distributed.finish()
    if not main:
        return 0
    for name, value in results.items():
        print(f"{name:24s} {value:.4f}")
    if path.is_dir():
        merge_summary(path, results)
        print(f"written into {path / 'summary.json'}")
    return 0
