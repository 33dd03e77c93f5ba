"""`repre-lite demo`: the main job from start to finish, offline, in minutes."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from ..course.artefacts import FOLDER
from ..data.sources import load_source
from ..evaluation.score import score_encoder
from ..recipes import recipe
from ..repre import RePre
from ..runs import RECIPE, SUMMARY, Run, merge_summary, read_json
from ..runtime import files
from ..runtime.device import pick_device
from ..runtime.errors import UserError
from ..runtime.lock import locked
from ..training.train import train

IMAGES = 8_000
ON_CPU = {"steps": 300, "batch_size": 32, "base_lr": 8e-3}  # more, smaller steps for the same number of images
ON_GPU = {"steps": 2000}


def demo(out: str, steps: int | None, device: str) -> int:
    """Train RePre with SimCLR, which learns fastest of the seven, on the scenes, evaluate it beside its controls, plot, and suggest what to try next."""
    folder, began = Path(out), time.perf_counter()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out={out}: is a file; choose another folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / RECIPE).exists():
        raise UserError(f"out={out}: the folder holds files but no run; choose an empty or new folder")
    place = pick_device(device)
    settings: dict[str, Any] = dict(ON_CPU if place.type == "cpu" else ON_GPU)
    if steps is not None:
        settings["steps"] = steps
    wanted = recipe("scenes", "simclr", train_images=IMAGES, device=device, **settings)
    if folder.exists():
        with locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"RePre with SimCLR: {wanted.arch}, {IMAGES} scenes, {wanted.steps} steps of {wanted.batch_size} on {place.type}"
    )
    run = train(wanted, folder)
    source = load_source("scenes", None, image_size=wanted.image_size, train_images=IMAGES)
    untrained = RePre.from_recipe(wanted, run.mean, run.std).framework.evaluated
    results = score_encoder(run.evaluated, untrained, source, ["knn"], place, run.mean, run.std)
    merge_summary(folder, results)
    run.model.cpu()

    chance = 1 / len(source.train.classes)
    print("\nk-NN top-1 on 2,000 validation scenes")
    for name, key in (
        ("trained", "knn_top1"),
        ("untrained", "knn_top1_untrained"),
        ("raw pixels", "knn_top1_pixels"),
    ):
        print(f"  {name:14s}{100 * results[key]:5.1f} %")
    print(f"  {'chance':14s}{100 * chance:5.1f} %")
    longer = read_json(FOLDER / "multi" / SUMMARY)
    print(
        f'  {"a longer run":14s}{100 * longer["knn_top1"]:5.1f} %  MoCo v3, {longer["steps"]:,} steps: rl.artefact("multi")'
    )
    figure = _plot(run, source.val.images[:10], folder) if source.val is not None else None
    print(
        f"reconstruction error (L1) {run.summary['reconstruction_l1']:.3f}, {time.perf_counter() - began:.0f} s in all\n"
    )
    print(f"run folder   {folder} (metrics.jsonl, encoder.safetensors, summary.json, ...)")
    print(f"figure       {figure}" if figure else "figure       needs matplotlib: pip install 'repre-lite[notebooks]'")
    print("next         repre-lite evaluate " + str(folder))
    print("             repre-lite pretrain --scale folder --size small --data YOUR_IMAGES --out runs/mine")
    print("             python start.py lab")
    return 0


def _plot(run: Run, images: Tensor, folder: Path) -> Path | None:
    """The figure of the run's reconstructions as a file; None without matplotlib."""
    try:
        from ..visualize.reconstruction import Reconstructions

        figure = Reconstructions.compute(run, images).figure()
    except ImportError:
        return None
    path, drawn = folder / "figures" / "reconstruction.png", io.BytesIO()
    figure.savefig(drawn, dpi=130)
    files.write_bytes(files.create(path.parent) / path.name, drawn.getvalue())
    return path
