"""Search the small-size recipe of every framework, with equal effort for each, on held-out training images.

python scripts/search_recipes.py [--data FOLDER] [--steps 150] [--settings 3] [--jobs 2] [--out results/recipe_search.json]

Every framework gets the same number of settings: a base learning rate and one or two knobs of its own, from the fixed
grid below. vit_micro, without the reconstruction branch, so that nothing is tuned in favour of it. Each setting is
trained on 10,000 scenes; the one of the highest k-NN is trained once more on 10,000 CIFAR-10 images. k-NN is judged on
2,000 others of the training images, never on val/, and stands beside that of the untrained encoder.

The table is written after every run, and the same command resumes it. 28 runs of 150 steps of 32 images take about 80
minutes on one slow core; `--jobs 2` does two at a time, one thread each.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cells import Images, fill, images, open_table, origins, run

import repre_lite as rl
from repre_lite.recipes import Recipe
from repre_lite.runtime.files import write_json

TRAIN, HELD, BATCH = 10_000, 2_000, 32
RATE = 30  # images/s of MoCo v3 with vit_micro on one core, for the estimate that is printed


def setting(base_lr: float, **method: Any) -> dict[str, Any]:
    """A setting: a base learning rate and the framework's own knobs."""
    return {"base_lr": base_lr, "method": method}


# the same number for each; those first in a row are tried first
GRID: dict[str, tuple[dict[str, Any], ...]] = {
    "simclr": (setting(8e-3, temperature=0.2), setting(1.6e-2, temperature=0.2), setting(8e-3, temperature=0.5)),
    "byol": (setting(8e-3, momentum=0.95), setting(1.6e-2, momentum=0.95), setting(8e-3, momentum=0.99)),
    "simsiam": (setting(8e-3, out=512, bottleneck=128), setting(1.6e-2, out=512, bottleneck=128),
                setting(4e-3, out=512, bottleneck=128)),
    "moco_v2": (setting(8e-3, queue=1024, temperature=0.2), setting(1.6e-2, queue=1024, temperature=0.2),
                setting(8e-3, queue=4096, temperature=0.2)),
    "moco_v3": (setting(8e-3, momentum=0.95), setting(1.6e-2, momentum=0.95), setting(8e-3, momentum=0.99)),
    "moby": (setting(8e-3, queue=1024, momentum=0.95), setting(1.6e-2, queue=1024, momentum=0.95),
             setting(8e-3, queue=4096, momentum=0.95)),
    "dino": (setting(8e-3, momentum=0.99), setting(1.6e-2, momentum=0.99), setting(8e-3, momentum=0.95)),
}  # fmt: skip


def recipe_of(scale: str, framework: str, values: Mapping[str, Any], steps: int, seed: int) -> Recipe:
    """The recipe of one run."""
    return rl.recipe(
        scale, framework, size="small", reconstruction="none", steps=steps, batch_size=BATCH, train_images=TRAIN,
        seed=seed, device="cpu", precision="fp32", **values,
    )  # fmt: skip


def named(scale: str, framework: str, values: Mapping[str, Any], seed: int) -> str:
    """The name of a cell, such as "scenes byol base_lr=0.004 momentum=0.95 seed=0"."""
    shown = {"base_lr": values["base_lr"]} | values["method"] | {"seed": seed}
    return " ".join([scale, framework, *(f"{name}={value:g}" for name, value in shown.items())])


def choose(cells: Mapping[str, Any], framework: str, settings: int, seeds: int) -> dict[str, Any] | None:
    """The setting of the highest mean k-NN on scenes, the first of equals; None until all of the framework are there."""
    best, highest = None, -1.0
    for values in GRID[framework][:settings]:
        names = [named("scenes", framework, values, seed) for seed in range(seeds)]
        if any(name not in cells for name in names):
            return None
        reached = sum(cells[name].get("knn", 0.0) for name in names) / seeds
        if reached > highest:
            best, highest = values, reached
    return best


def main() -> None:
    """Parse the options, fill the table in two rounds, print what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frameworks", nargs="+", choices=tuple(GRID), default=tuple(GRID))
    parser.add_argument("--settings", type=int, choices=(1, 2, 3), default=3, help="of each framework (default 3)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--data", help="folder that holds cifar10/ (default: found, or downloaded into data/)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("results/recipe_search.json"))
    options = parser.parse_args()
    measured = {
        "what": "vit_micro without the branch; k-NN on held-out training images",
        "steps": options.steps,
        "batch_size": BATCH,
        "images": [TRAIN, HELD],
    }
    table = open_table(options.out, measured)
    seeds = range(options.seeds)
    runs = len(options.frameworks) * (options.settings + 1) * options.seeds
    minutes = runs * (options.steps * BATCH / RATE + 20) / 60 / options.jobs
    print(f"{runs} runs of {options.steps} steps, about {minutes:.0f} minutes of {options.jobs} core(s)", flush=True)

    def cell(scale: str, framework: str, values: Mapping[str, Any], seed: int, which: Images) -> Any:
        return partial(run, recipe_of(scale, framework, values, options.steps, seed), which)

    scenes, cifar10 = images("scenes", None, TRAIN, HELD), images("cifar10", options.data, TRAIN, HELD)
    # setting by setting, so that a stopped search has given every framework the same
    grid = [(f, GRID[f][i], s) for i in range(options.settings) for f in options.frameworks for s in seeds]
    fill(options.out, table, {named("scenes", *row): cell("scenes", *row, scenes) for row in grid}, options.jobs)
    chosen = {f: choose(table["cells"], f, options.settings, options.seeds) for f in options.frameworks}
    table |= {"chosen": chosen, "origin": origins(scenes, cifar10)}
    write_json(options.out, table)
    confirmed = [(f, values, s) for f, values in chosen.items() if values is not None for s in seeds]
    fill(
        options.out, table, {named("cifar10", *row): cell("cifar10", *row, cifar10) for row in confirmed}, options.jobs
    )
    for framework, values, seed in confirmed:
        pairs = {scale: table["cells"][named(scale, framework, values, seed)] for scale in ("scenes", "cifar10")}
        shown = ", ".join(f"{s} {p.get('knn')} (untrained {p['untrained']})" for s, p in pairs.items())
        print(f"{framework:8s} {values} seed {seed}: {shown}")


if __name__ == "__main__":
    main()
