"""Make the trained runs that ship with the package: `rl.artefact("multi")`, "single" and "detached".

python scripts/make_artefacts.py [--steps 3000] [--runs runs/artefacts] [--only multi] [--jobs 1]

All three start from the same encoder and see the same views: `vit_micro`, MoCo v3, 20,000 scenes, batches of 32. Training
takes about an hour a run on one quiet core and resumes by the same command. Packing follows when all three are finished:
weights as small integers, snapshots as their difference from the end of the run, and what that costs in accuracy is
measured and written beside them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
from pathlib import Path

import torch
from cells import accuracies

import repre_lite as rl
from repre_lite.course.artefacts import FOLDER
from repre_lite.data.scenes import VAL_START
from repre_lite.data.sources import load_source
from repre_lite.encoder import TappedEncoder
from repre_lite.recipes import Recipe
from repre_lite.runs import DECODER, ENCODER, METRICS, RECIPE, SNAPSHOTS, SUMMARY, read_json
from repre_lite.runtime.files import RELATIVE_TO, append_jsonl, load_tensors, save_tensors, write_json
from repre_lite.runtime.quantise import shrink
from repre_lite.visualize.kit.capture import capture, middle_half
from repre_lite.visualize.truth import Truth

ARMS = ("multi", "detached", "single")
KEPT = {"multi": 8, "detached": 8, "single": 0}  # snapshots
LEVELS, DIFFERENCE_LEVELS = 127, 7  # of weights, and of what separates a snapshot from the end of the run
LINES = 200  # of metrics


def recipe_of(arm: str, steps: int) -> Recipe:
    """The recipe of one arm."""
    return rl.recipe(
        "scenes", "moco_v3", reconstruction=arm, steps=steps, batch_size=32, base_lr=8e-3, train_images=20_000,
        snapshots=KEPT[arm], device="cpu", precision="fp32",
    )  # fmt: skip


def train(arm: str, steps: int, folder: Path) -> None:
    """Train one arm into `folder`/`arm`."""
    rl.train(recipe_of(arm, steps), folder / arm)


def pack(run: Path, out: Path) -> None:
    """Write the finished `run` into `out`, small."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copy(run / RECIPE, out / RECIPE)
    lines = rl.load_run(run).metrics
    every = -(-len(lines) // LINES)
    for record in [*lines[:-1:every], lines[-1]]:
        append_jsonl(out / METRICS, record)
    for name in (ENCODER, DECODER):
        tensors, metadata = load_tensors(run / name)
        save_tensors(out / name, shrink(tensors, LEVELS), metadata)
    steps = sorted((run / SNAPSHOTS).glob("step-*"))
    for folder in steps[1:-1]:  # the first is nearly the untrained encoder, the last is the run itself
        _difference(folder, out / SNAPSHOTS / folder.name, out)
    write_json(out / SUMMARY, read_json(run / SUMMARY))
    before, after = measure(rl.load_run(run)), measure(rl.load_run(out))
    found = after | {f"{name}_fp32": value for name, value in before.items()} | untrained(rl.load_run(run))
    write_json(out / SUMMARY, read_json(run / SUMMARY) | found)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out.name}: {size / 1e6:.1f} MB, fp32 {before}, packed {after}", flush=True)


def _difference(snapshot: Path, out: Path, end: Path) -> None:
    """Write what separates a snapshot from the packed `end` of its run: smaller numbers, so fewer levels are as exact."""
    out.mkdir(parents=True)
    for name in (ENCODER, DECODER):
        (tensors, metadata), (base, _) = load_tensors(snapshot / name), load_tensors(end / name)
        difference = {key: tensor - base[key] for key, tensor in tensors.items()}
        save_tensors(out / name, shrink(difference, DIFFERENCE_LEVELS), metadata | {RELATIVE_TO: f"../../{name}"})


def measure(run: rl.Run) -> dict[str, float]:
    """k-NN of 2,000 validation scenes by 20,000, and L1 of whole scenes and their reconstructions."""
    source = load_source("scenes", None, image_size=32)
    assert source.val is not None
    view = source.val.images[:].float() / 255  # (B, 3, H, W)
    with torch.no_grad():
        drawn = torch.cat([run.reconstruct(part) for part in view.split(200)])
    found = accuracies(run.evaluated, source, 20_000, 2_000, True)
    return {
        "knn_top1": found["knn"],
        "linear_top1": found["linear"],
        "attention_iou": attention_iou(run, run.evaluated),
        "scene_l1": round(float((drawn - view).abs().mean()), 5),
    }


def untrained(run: rl.Run) -> dict[str, float]:
    """The same accuracies of the encoder that the run began with."""
    source = load_source("scenes", None, image_size=32)
    encoder = run.at(0).framework.evaluated
    found = accuracies(encoder, source, 20_000, 2_000, True)
    return {
        "knn_top1_untrained": found["knn"],
        "linear_top1_untrained": found["linear"],
        "attention_iou_untrained": attention_iou(run, encoder),
    }


def attention_iou(run: rl.Run, encoder: TappedEncoder, count: int = 200) -> float:
    """IoU of an object and the patches that hold 60 % of the class token's attention in the middle half of the blocks, mean
    over `count` validation scenes."""
    held = rl.scenes(range(VAL_START, VAL_START + count), size=run.recipe.image_size)
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (run.mean, run.std))
    blocks = middle_half(capture(encoder.backbone, (held.images[0].float() / 255 - shift) / scale)[0])
    truth = Truth.compute(encoder, lambda x: (x - shift) / scale, held, mass=0.6, blocks=blocks)
    return round(float(truth.iou.mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--runs", type=Path, default=Path("runs/artefacts"), help="where to train")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to pack them (default: the package)")
    parser.add_argument("--only", choices=ARMS, nargs="+", default=list(ARMS))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    options = parser.parse_args()
    os.environ["REPRE_LITE_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        pool.starmap(train, [(arm, options.steps, options.runs) for arm in options.only], chunksize=1)
    for arm in options.only:
        pack(options.runs / arm, options.out / arm)


if __name__ == "__main__":
    main()
