"""What the verbs of the command line do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import timm
import torch

from .data.sources import Source, load_source
from .encoder import TappedEncoder
from .evaluation import extract_shared, knn_top1, linear_top1, pixel_features
from .recipes import Recipe, recipe
from .repre import RePre
from .runs import ENCODER, load_run, merge_summary
from .runtime import distributed, files
from .runtime.device import pick_device, set_threads
from .runtime.errors import UserError
from .training.train import Stopped, train


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


def score(
    encoder: TappedEncoder,
    untrained: TappedEncoder,
    pictures: Source,
    protocols: list[str],
    device: torch.device,
    mean: Any,
    std: Any,
) -> dict[str, float]:
    """Accuracies in [0, 1] of an encoder and of its untrained self; empty, with a line, without labelled pictures."""
    train_set, val_set = pictures.labelled, pictures.val
    if train_set is None or val_set is None or train_set.labels is None or val_set.labels is None:
        print("no labelled val/ pictures, so k-NN and linear probe are skipped")
        return {}
    results = {}
    for suffix, network in (("", encoder), ("_untrained", untrained)):
        network = network.to(device)
        x, x_val = (extract_shared(network, p.images, mean, std) for p in (train_set, val_set))
        if "knn" in protocols:
            results[f"knn_top1{suffix}"] = knn_top1(x, train_set.labels, x_val, val_set.labels)
        if "linear" in protocols:
            results[f"linear_top1{suffix}"], _ = linear_top1(x, train_set.labels, x_val, val_set.labels)
    pixels, pixels_val = train_set.images, val_set.images
    if "knn" in protocols and isinstance(pixels, torch.Tensor) and isinstance(pixels_val, torch.Tensor):
        x, x_val = pixel_features(pixels), pixel_features(pixels_val)
        results["knn_top1_pixels"] = knn_top1(x, train_set.labels, x_val, val_set.labels)
    return results


def read_encoder(path: Path) -> tuple[TappedEncoder, TappedEncoder, list[float], list[float]]:
    """An encoder.safetensors as encoder, the same untrained, and the mean and std it was trained with."""
    tensors, metadata = files.load_tensors(path)
    if "timm_name" not in metadata:
        raise UserError(f"{path}: not an encoder of repre-lite; give a run folder or its {ENCODER}")
    size = int(metadata["image_size"])

    def build() -> TappedEncoder:
        return TappedEncoder(timm.create_model(metadata["timm_name"], **json.loads(metadata["timm_args"])), size)

    encoder, untrained = build(), build()
    encoder.backbone.load_state_dict(tensors)
    return encoder, untrained, json.loads(metadata["mean"]), json.loads(metadata["std"])


def export(source: str, out: str) -> int:
    """`repre-lite export`: the encoder's weights, and beside them the timm name and arguments that load them strictly."""
    target = Path(out)
    if target.suffix != ".safetensors":
        raise UserError(f"--out {out}: give a file name that ends in .safetensors")
    path = Path(source) / ENCODER
    if not path.exists():
        raise UserError(f"{source}: no {ENCODER} there; give the folder of a finished run")
    tensors, metadata = files.load_tensors(path)
    name, arguments = metadata["timm_name"], json.loads(metadata["timm_args"])
    if not target.parent.is_dir():
        raise UserError(f"--out {out}: the folder {target.parent} does not exist; make it first")
    files.save_tensors(target, tensors, metadata)
    files.write_json(target.with_suffix(".json"), {"name": name, "args": arguments})
    shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
    print(f"{name} {json.dumps(arguments)}")
    print(f'timm.create_model("{name}", checkpoint_path="{target}"{shown})')
    return 0


def lab(reset: str | None, no_browser: bool) -> int:
    """`repre-lite lab`: copy lessons that are not there yet into work/ and open JupyterLab on them."""
    lessons = _lessons()
    work = Path("work")
    work.mkdir(exist_ok=True)
    for lesson in lessons:
        copy = work / lesson.name
        if reset and lesson.name.startswith(reset) and copy.exists():
            kept = work / f"{copy.stem}-{time.strftime('%Y%m%d-%H%M%S')}.ipynb"
            copy.rename(kept)
            print(f"{copy} is fresh again; yours is kept as {kept}")
        if not copy.exists():
            shutil.copyfile(lesson, copy)
    if reset and not any(lesson.name.startswith(reset) for lesson in lessons):
        raise UserError(
            f"--reset {reset}: no lesson of that number; there are {', '.join(p.name[:2] for p in lessons)}"
        )
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={work}"]
    try:
        return subprocess.call(command + (["--no-browser"] if no_browser else []), env=dict(os.environ))
    except KeyboardInterrupt:
        return 0


def _lessons() -> list[Path]:
    """The course: in the checkout, or inside the installed package."""
    here = Path(__file__).parent
    for folder in (here.parent / "notebooks", here / "_notebooks"):
        lessons = sorted(folder.glob("[0-9]*.ipynb"))
        if lessons:
            return lessons
    raise UserError("no lessons found; run from a clone of the repository")
