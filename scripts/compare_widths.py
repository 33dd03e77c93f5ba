"""Does the light decoder lose anything? Paired runs of MoCo v3 without the branch, with the light and with the full one.

python scripts/compare_widths.py --data FOLDER/cifar10 [--seeds 3] [--json results/decoder_width.json]

vit_micro on CIFAR-10. Of 8,000 training pictures the last 2,000 are held out: k-NN and linear probe are fitted on the
first 6,000 and judged on those; the validation pictures are not looked at. The arms of a seed start from the same encoder
and heads and see the same views. Written after every run, runs already there are skipped. One CPU core: 40 minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import load_source
from repre_lite.evaluation import extract, knn_top1, linear_top1
from repre_lite.runtime.device import describe_device, pick_device
from repre_lite.runtime.files import write_json
from repre_lite.training.loop import Training, steps

ARMS: dict[str, dict[str, Any]] = {
    "none": {"reconstruction": "none"},
    "light": {"decoder_width": "light"},
    "full": {"decoder_width": "full"},
}
KEPT, HELD, EPOCHS = 6_000, 2_000, 4


def held_out(data: str) -> Source:
    """The first pictures to train on, the last as validation; drawn by class, then shuffled."""
    whole = load_source("cifar10", data, 32, KEPT + HELD)
    images, labels = whole.train.images, whole.train.labels
    assert isinstance(images, torch.Tensor) and labels is not None
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = [ImageSet(images[i], labels[i], whole.train.classes) for i in (order[:KEPT], order[KEPT:])]
    return replace(whole, train=parts[0], val=parts[1])


def run(source: Source, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Train one arm and measure it on the held-out pictures."""
    recipe = rl.recipe("cifar10", "moco_v3", size="small", epochs=EPOCHS, seed=seed, train_images=KEPT, **changes)
    training, start = Training(recipe, source), time.perf_counter()
    last = None
    for losses, views in steps(training):
        if training.step == training.total_steps:
            last = training.report(losses, views, 0.0)
    assert last is not None and source.val is not None
    encoder, labels, labels_val = training.model.framework.evaluated, source.train.labels, source.val.labels
    assert labels is not None and labels_val is not None
    x, x_val = (extract(encoder, p.images, source.mean, source.std) for p in (source.train, source.val))
    return {
        "knn_top1": knn_top1(x, labels, x_val, labels_val),
        "linear_top1": linear_top1(x, labels, x_val, labels_val)[0],
        "contrastive": last.losses["contrastive"],
        "reconstruction": last.losses["reconstruction"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def differences(runs: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    """Each measure of `one` minus that of `other`, seed by seed; mean and standard deviation where there are two."""
    seeds = sorted(key.split()[1] for key in runs if key.split()[0] == one and f"{other} {key.split()[1]}" in runs)
    table: dict[str, Any] = {}
    for measure in ("knn_top1", "linear_top1"):
        each = [round(runs[f"{one} {s}"][measure] - runs[f"{other} {s}"][measure], 4) for s in seeds]
        table[measure] = {"each": each}
        if len(each) > 1:
            table[measure] |= {"mean": round(statistics.mean(each), 4), "std": round(statistics.stdev(each), 4)}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a tree train/CLASS/* and val/CLASS/* of CIFAR-10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=tuple(ARMS))
    parser.add_argument("--json", type=Path, default=Path("results/decoder_width.json"))
    options = parser.parse_args()
    table: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {"runs": {}}
    source = held_out(options.data)
    for seed in range(options.seeds):
        for name in options.arms:
            if f"{name} {seed}" not in table["runs"]:
                table["runs"][f"{name} {seed}"] = run(source, seed, ARMS[name])
                print(name, seed, table["runs"][f"{name} {seed}"], flush=True)
            table |= {
                "date": datetime.date.today().isoformat(),
                "hardware": describe_device(pick_device("auto")),
                "versions": {"torch": torch.__version__, "timm": timm.__version__},
                "what": f"MoCo v3, vit_micro, CIFAR-10, {KEPT} pictures, {EPOCHS} epochs, judged on {HELD} held out",
                "light minus full": differences(table["runs"], "light", "full"),
                "light minus none": differences(table["runs"], "light", "none"),
            }
            write_json(options.json, table)


if __name__ == "__main__":
    main()
