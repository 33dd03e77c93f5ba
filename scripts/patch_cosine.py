"""Patch cosine over time and by tap, `multi` beside `detached`: does the branch keep the patches of an image apart?

python scripts/patch_cosine.py [--seeds 8] [--steps 128] [--jobs 2] [--out results/patch_cosine.json]

MoCo v3, vit_micro, 10,000 scenes, batches of 32. Both arms of a seed start from the same encoder and see the same views;
the encoder of `detached` is trained by the contrastive loss alone. Measured on 512 validation scenes, which are used for
nothing else: the mean cosine between the patches of an image at each of the four taps, after 0, 2, 4, 8, ... steps. The
table, beside the JSON file as Markdown, gives `multi` minus `detached` paired by seed, with a 95 % interval. Every finished
run is written, and the same command resumes. 16 runs of 128 steps take about 40 minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cells import Images, by_seed, fill, images, load, open_table

import repre_lite as rl
from repre_lite.evaluation.diversity import measure_diversity
from repre_lite.recipes import Recipe
from repre_lite.reproduce.statistics import paired, verdict
from repre_lite.runtime.files import write_json, write_text
from repre_lite.training.loop import Training, steps

ARMS = ("multi", "detached")
TRAIN, BATCH = 10_000, 32


def moments(total: int) -> list[int]:
    """Steps after which the cosine is measured: 0, the powers of two below `total`, and `total`."""
    return [0, *(2**power for power in range(1, total.bit_length()) if 2**power < total), total]


def cosines(recipe: Recipe, which: Images) -> dict[str, Any]:
    """Train by a recipe; `steps`, and for each of them the patch cosine at each tap, shallow to deep."""
    torch.set_num_threads(1)
    source = load(which)
    assert source.val is not None
    training = Training(recipe, source)
    wanted, found = moments(training.total_steps), []

    def measure() -> None:
        encoder = training.model.framework.evaluated
        encoder.eval()
        found.append(measure_diversity(encoder, source.val.images, source.mean, source.std)["patch_cosine"])
        training.model.train()

    measure()
    for _ in steps(training):
        if training.step in wanted:
            measure()
    return {"steps": wanted, "patch_cosine": [[round(value, 5) for value in taps] for taps in found]}


def table(cells: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each moment and tap: the means of both arms, their paired difference, its interval and the verdict."""
    first: dict[str, Any] = next(iter(cells.values()))
    rows: list[dict[str, Any]] = []
    for (moment, step), tap in itertools.product(enumerate(first["steps"]), range(len(first["patch_cosine"][0]))):
        multi, detached = (
            {seed: cell["patch_cosine"][moment][tap] for seed, cell in by_seed(cells, arm).items()} for arm in ARMS
        )
        found = paired(multi, detached)
        mean, half = found.mean or 0.0, found.half or 0.0
        rows.append(
            {
                "step": step,
                "tap": tap + 1,
                "multi": round(sum(multi.values()) / len(multi), 4),
                "detached": round(sum(detached.values()) / len(detached), 4),
                "difference": round(mean, 4),
                "half": round(half, 4),
                "pairs": found.n,
                "verdict": verdict(found, 0),
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]], head: Mapping[str, Any]) -> str:
    """The table as text."""
    lines = [
        "# Patch cosine: `multi` minus `detached`",
        "",
        f"{head['what']}. {head['hardware']}, torch {head['versions']['torch']}, {head['date']}. 95 % intervals of the "
        "paired differences; made by `scripts/patch_cosine.py`.",
        "",
        "| step | tap | multi | detached | difference | verdict |",
        "|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {r['step']} | {r['tap']} | {r['multi']:.3f} | {r['detached']:.3f} | {r['difference']:+.3f} ± {r['half']:.3f} | "
        f"{r['verdict']} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, fill the table, write the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("results/patch_cosine.json"))
    options = parser.parse_args()
    measured = {
        "what": f"MoCo v3, vit_micro, {TRAIN:,} scenes, batches of {BATCH}, {options.steps} steps; mean cosine between "
        "the patches of one image, 512 validation scenes",
        "steps": options.steps,
    }
    held, which = open_table(options.out, measured), images("scenes", None, TRAIN)
    cells: dict[str, Any] = {}
    for seed, arm in itertools.product(range(options.seeds), ARMS):
        recipe = rl.recipe(
            "scenes", "moco_v3", seed=seed, steps=options.steps, batch_size=BATCH, base_lr=8e-3, train_images=TRAIN,
            reconstruction=arm, device="cpu", precision="fp32",
        )  # fmt: skip
        cells[f"{arm} {seed}"] = partial(cosines, recipe, which)
    fill(options.out, held, cells, options.jobs)
    held["table"] = table(held["cells"])
    write_json(options.out, held)
    text = markdown(held["table"], held)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
