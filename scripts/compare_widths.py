"""Does the light decoder lose anything? MoCo v3 without the branch, with the light decoder and with the full one.

python scripts/compare_widths.py [--data FOLDER] [--seeds 3] [--steps 375] [--jobs 2] [--out results/widths.json]

vit_micro on 6,000 training images of CIFAR-10; 2,000 other training images are held out for k-NN, linear probe and
reconstruction error, the validation images are not looked at. The arms of a seed start from the same encoder and heads and
see the same views. The table is written after every run, and the same command resumes it. About 70 minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

from cells import fill, images, open_table, paired, run

import repre_lite as rl
from repre_lite.runtime.files import write_json

ARMS: dict[str, dict[str, Any]] = {
    "none": {"reconstruction": "none"},
    "light": {"decoder_width": "light"},
    "full": {"decoder_width": "full"},
}
TRAIN, HELD = 6_000, 2_000
MEASURES = ("knn", "linear", "reconstruction_error")


def main() -> None:
    """Parse the options and fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder that holds cifar10/ (default: found, or downloaded into data/)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=375)
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=tuple(ARMS))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("results/widths.json"))
    options = parser.parse_args()
    measured = {
        "what": "MoCo v3, vit_micro, CIFAR-10; an arm is the decoder's width",
        "steps": options.steps,
        "batch_size": 64,
        "images": [TRAIN, HELD],
    }
    table, which = open_table(options.out, measured), images("cifar10", options.data, TRAIN, HELD)
    cells: dict[str, Any] = {}
    for seed, name in itertools.product(range(options.seeds), options.arms):
        recipe = rl.recipe(
            "cifar10", "moco_v3", size="small", seed=seed, steps=options.steps, batch_size=64, train_images=TRAIN,
            device="cpu", precision="fp32", **ARMS[name],
        )  # fmt: skip
        cells[f"{name} {seed}"] = partial(run, recipe, which, TRAIN, HELD, linear=True)
    fill(options.out, table, cells, options.jobs)
    for one, other in (("light", "full"), ("light", "none")):
        table[f"{one} minus {other}"] = paired(table["cells"], one, other, MEASURES)
        print(f"{one} minus {other}", table[f"{one} minus {other}"])
    write_json(options.out, table)


if __name__ == "__main__":
    main()
