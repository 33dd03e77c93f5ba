"""Two initialisations, each beside its alternative: of the decoder (he, torch) and of the encoder (moco_v3, timm).

python scripts/compare_initialisation.py [--scale cifar10] [--data FOLDER] [--seeds 3] [--steps 100] [--jobs 2]

MoCo v3 with the branch, vit_micro, on 10,000 training images; 2,000 other training images are held out for k-NN and
reconstruction error, the validation images are not looked at. The three arms of a seed differ in nothing but the one
initialisation: same heads, same images, same views. The table is written after every run, and the same command resumes
it. About 20 minutes on one core; the figures go to results/initialisation.json.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

from cells import fill, images, open_table, origins, paired, run

import repre_lite as rl
from repre_lite.runtime.files import write_json

ARMS: dict[str, dict[str, Any]] = {
    "he, moco_v3": {"decoder_init": "he", "encoder_init": "moco_v3"},
    "torch, moco_v3": {"decoder_init": "torch", "encoder_init": "moco_v3"},
    "he, timm": {"decoder_init": "he", "encoder_init": "timm"},
}
TRAIN, HELD = 10_000, 2_000
MEASURES = ("knn", "untrained", "reconstruction_error")


def main() -> None:
    """Parse the options and fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("scenes", "cifar10"), default="cifar10")
    parser.add_argument("--data", help="folder that holds cifar10/ (default: found, or downloaded into data/)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--reconstruction", choices=("multi", "single", "detached"), default="multi")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("results/initialisation.json"))
    options = parser.parse_args()
    measured = {
        "what": "MoCo v3, vit_micro; an arm is the decoder's and the encoder's initialisation",
        "scale": options.scale,
        "steps": options.steps,
        "batch_size": 64,
        "reconstruction": options.reconstruction,
        "images": [TRAIN, HELD],
    }
    table, which = open_table(options.out, measured), images(options.scale, options.data, TRAIN, HELD)
    cells: dict[str, Any] = {}
    for seed, (name, changes) in itertools.product(range(options.seeds), ARMS.items()):
        recipe = rl.recipe(
            options.scale, "moco_v3", size="small", seed=seed, steps=options.steps, batch_size=64, train_images=TRAIN,
            reconstruction=options.reconstruction, device="cpu", precision="fp32", **changes,
        )  # fmt: skip
        cells[f"{name} {seed}"] = partial(run, recipe, which)
    fill(options.out, table, cells, options.jobs)
    for name, other in (("decoder: he minus torch", "torch, moco_v3"), ("encoder: moco_v3 minus timm", "he, timm")):
        table[name] = paired(table["cells"], "he, moco_v3", other, MEASURES)
        print(name, table[name])
    table["origin"] = origins(which)
    write_json(options.out, table)


if __name__ == "__main__":
    main()
