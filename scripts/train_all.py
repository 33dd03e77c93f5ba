"""Train every framework on every small encoder with every branch for a few steps, and write the figures as a table.

python scripts/train_all.py --out results/frameworks.json [--steps 100] [--scales scenes cifar10] [--data FOLDER] [--jobs 2]

Figures of a cell: losses, collapse gauges, reconstruction error, and k-NN beside the same encoder untrained. The table is
written after every cell, and the same command resumes it. `--jobs 2` trains two cells side by side, one thread each. The
84 cells take about an hour on one core with 20 steps.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

from cells import fill, images, open_table, origins, run

import repre_lite as rl
from repre_lite.frameworks import FRAMEWORKS
from repre_lite.runtime.files import write_json

ARCHS, BRANCHES = ("vit_micro", "swin_micro"), ("none", "single", "multi")
BATCH = 32
TRAIN, BANK, JUDGED = 10_000, 1_000, 500  # images to train on; of the k-NN


def main() -> None:
    """Parse the options and fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--scales", nargs="+", default=["scenes", "cifar10"])
    parser.add_argument("--frameworks", nargs="+", default=[name for name in FRAMEWORKS if name != "none"])
    parser.add_argument("--archs", nargs="+", default=ARCHS)
    parser.add_argument("--branches", nargs="+", default=BRANCHES)
    parser.add_argument("--data", help="folder that holds cifar10/ (default: found, or downloaded into data/)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="cells to run at the same time, one thread each (default 1)"
    )
    options = parser.parse_args()
    measured = {
        "steps": options.steps,
        "batch_size": BATCH,
        "precision": "fp32",
        "seed": 0,
        "knn_images": [BANK, JUDGED],
    }
    table = open_table(options.out, measured)
    cells: dict[str, Any] = {}
    for scale, arch in itertools.product(options.scales, options.archs):
        which = images(scale, options.data, TRAIN)
        for name, branch in itertools.product(options.frameworks, options.branches):
            recipe = rl.recipe(
                scale, name, size="small", arch=arch, reconstruction=branch, steps=options.steps, device="cpu",
                batch_size=BATCH, precision="fp32", train_images=TRAIN,
            )  # fmt: skip
            cells[f"{scale} {name} {arch} {branch}"] = partial(run, recipe, which, BANK, JUDGED)
    fill(options.out, table, cells, options.jobs)
    write_json(options.out, table | {"origin": origins(*(images(s, options.data, TRAIN) for s in options.scales))})


if __name__ == "__main__":
    main()
