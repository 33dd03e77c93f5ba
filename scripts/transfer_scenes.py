"""Segmentation and detection on the scenes: frozen and fine-tuned, pre-trained beside untrained, three seeds.

python scripts/transfer_scenes.py [--sources RUN ...] [--seeds 3] [--tasks segmentation detection] [--steps N [N]] [--jobs 1]
    [--out results/transfer_scenes.json]

A source is a finished run of `pretrain --scale scenes`, one for all seeds or one for each; without it, the trained run
that ships with the package. The untrained encoder is that of the same run at its start, with the same head and the same
batches, so differences are paired: they are given seed by seed, with the mean and half its 95 % interval. `miou_majority` is what
the most frequent class everywhere reaches.

The table is written after every cell, and the same command resumes it.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cells import fill, open_table, paired

from repre_lite.course.artefacts import FOLDER
from repre_lite.runtime.files import write_json
from repre_lite.transfer.loop import Transfer
from repre_lite.transfer.settings import SCALES, transfer_recipe

MEASURES = {
    "segmentation": ("miou", "macc", "boundary_iou"),
    "detection": ("box_map", "box_map50", "mask_map", "mask_map50"),
}
MODES = ("frozen", "fine-tuned")


def learn(source: str, task: str, mode: str, untrained: bool, seed: int, steps: int) -> dict[str, Any]:
    """One cell: learn the task on one thread and score it; nothing is written."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    recipe = transfer_recipe(source, task, "scenes", frozen=mode == "frozen", seed=seed, device="cpu", steps=steps)
    run = Transfer(recipe, untrained)
    losses = [numbers["loss"] for numbers in (run.report(values) for values in run.steps() if run.logs())]
    run.model.eval()
    scores = run.task.evaluate(run.device, run.precision, quiet=True)
    numbers = {name: round(value, 4) for name, value in scores.items() if isinstance(value, float)}
    return numbers | {
        "loss": [round(losses[0], 4), round(losses[-1], 4)],
        "seconds": round(time.perf_counter() - began, 1),
    }


def cells_of(options: argparse.Namespace) -> dict[str, Any]:
    """What to compute by name, "TASK MODE ENCODER SEED"."""
    found = {}
    for seed in range(options.seeds):
        source = str(options.sources[seed % len(options.sources)])
        for task, steps in zip(options.tasks, options.steps, strict=True):
            for mode in MODES:
                for encoder in ("pre-trained", "untrained"):
                    untrained = encoder == "untrained"
                    found[f"{task} {mode} {encoder} {seed}"] = partial(
                        learn, source, task, mode, untrained, seed, steps
                    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, nargs="+", metavar="RUN", help="default: the package's own run `multi`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=tuple(MEASURES), default=list(MEASURES))
    parser.add_argument("--steps", type=int, nargs="+", help="of each task (default: those of the scale)")
    parser.add_argument("--jobs", type=int, default=1, help="cells to run at the same time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("results/transfer_scenes.json"))
    options = parser.parse_args()
    options.steps = options.steps or [SCALES[task]["scenes"]["steps"] for task in options.tasks]
    if len(options.steps) != len(options.tasks):
        parser.error(f"--steps: give one number for each of {' '.join(options.tasks)}")
    named = [path.name for path in options.sources or ()] or ["artefact multi"]
    options.sources = options.sources or [FOLDER / "multi"]

    table = open_table(
        options.out,
        {"scale": "scenes", "sources": named, "steps": dict(zip(options.tasks, options.steps, strict=True))},
    )
    fill(options.out, table, cells_of(options), options.jobs)
    table["paired"] = {
        f"{task} {mode}": paired(
            table["cells"], f"{task} {mode} pre-trained", f"{task} {mode} untrained", MEASURES[task]
        )
        for task in options.tasks
        for mode in MODES
    }
    write_json(options.out, table)
    for name, measures in table["paired"].items():
        for measure, values in measures.items():
            print(f"{name:24s}{measure:14s}pre-trained minus untrained {values.get('mean', values['each'])}")


if __name__ == "__main__":
    main()
