"""Train every framework on every small encoder with every branch for a few steps, and write what came out as a table.

python scripts/train_all.py --out results/frameworks.json [--steps 100] [--scales scenes cifar10] [--data FOLDER]

For each cell: the losses, the collapse gauges, and k-NN beside the same encoder untrained. Cells already in the file
are skipped, so a stopped run goes on. Swins take half the batch and bf16, being three times as slow. On one CPU core about
an hour and a quarter.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import load_source
from repre_lite.evaluation import extract, knn_top1
from repre_lite.evaluation.collapse import advice
from repre_lite.frameworks import FRAMEWORKS
from repre_lite.recipes import Recipe
from repre_lite.runtime.device import describe_device, pick_device
from repre_lite.runtime.files import write_json
from repre_lite.training.loop import Training, steps

ARCHS, BRANCHES = ("vit_micro", "swin_micro"), ("none", "single", "multi")
BATCH = {"vit_micro": 64, "swin_micro": 32}
PRECISION = {"vit_micro": "fp32", "swin_micro": "bf16"}
TRAIN, VAL = 4_000, 1_000  # pictures of the k-NN


def in_turns(pictures: ImageSet) -> ImageSet:
    """The same pictures with classes taking turns, as scenes do, so that the first so many are even over classes."""
    labels = pictures.labels
    assert labels is not None and isinstance(pictures.images, torch.Tensor)
    by_class = labels.argsort(stable=True)
    ordered = labels[by_class]
    turn = torch.arange(len(labels)) - torch.searchsorted(ordered, ordered)  # (n,): place within its class
    order = by_class[(turn * len(pictures.classes) + ordered).argsort()]
    return replace(pictures, images=pictures.images[order], labels=labels[order])


@torch.no_grad()
def knn(encoder: Any, source: Source) -> float:
    train, val = source.train, source.val
    assert val is not None and train.labels is not None and val.labels is not None
    x, x_val = (extract(encoder, p.images[:n], source.mean, source.std) for p, n in ((train, TRAIN), (val, VAL)))
    return round(knn_top1(x, train.labels[:TRAIN], x_val, val.labels[:VAL]), 4)


def cell(recipe: Recipe, source: Source) -> dict[str, Any]:
    """Train and measure one cell."""
    training, start = Training(recipe, source), time.perf_counter()
    untrained = knn(training.model.framework.evaluated, source)
    first = last = None
    for losses, views in steps(training):
        if training.step == 1 or training.step == training.total_steps:
            last = training.report(losses, views, 0.0)
            first = first or last
    assert first is not None and last is not None
    return {
        "knn": knn(training.model.framework.evaluated, source),
        "untrained": untrained,
        "contrastive": [first.losses["contrastive"], last.losses["contrastive"]],
        "reconstruction": [first.losses["reconstruction"], last.losses["reconstruction"]],
        "embedding_std": last.gauges["embedding_std"],
        "effective_rank": last.gauges["effective_rank"],
        "collapsed": advice(last.gauges, recipe.batch_size) is not None,
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--scales", nargs="+", default=["scenes", "cifar10"])
    parser.add_argument("--frameworks", nargs="+", default=[name for name in FRAMEWORKS if name != "none"])
    parser.add_argument("--archs", nargs="+", default=ARCHS)
    parser.add_argument("--branches", nargs="+", default=BRANCHES)
    parser.add_argument("--data", help="folder that holds cifar10/ (left out: downloaded into data/)")
    parser.add_argument("--lr", type=float)
    options = parser.parse_args()
    table: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"cells": {}}
    table |= {
        "date": datetime.date.today().isoformat(),
        "hardware": describe_device(pick_device("auto")),
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
        "steps": options.steps,
        "batch_size": BATCH,
        "precision": PRECISION,
        "seed": 0,
        "knn_pictures": [TRAIN, VAL],
    }
    for arch, scale in itertools.product(options.archs, options.scales):
        data = str(Path(options.data) / scale) if options.data and scale != "scenes" else None
        source = load_source(scale, data, 32, 10_000)
        assert source.val is not None
        source = replace(source, train=in_turns(source.train), val=in_turns(source.val))
        for name, branch in itertools.product(options.frameworks, options.branches):
            key = f"{scale} {name} {arch} {branch}"
            if key in table["cells"]:
                continue
            recipe = rl.recipe(
                scale,
                name,
                size="small",
                arch=arch,
                reconstruction=branch,
                steps=options.steps,
                batch_size=BATCH.get(arch),
                precision=PRECISION.get(arch),
                base_lr=options.lr,
            )
            table["cells"][key] = cell(recipe, source)
            write_json(options.out, table)
            print(key, table["cells"][key], flush=True)


if __name__ == "__main__":
    main()
