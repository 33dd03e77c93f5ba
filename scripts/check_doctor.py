"""Does `repre-lite doctor` name what is wrong? Twenty sabotaged runs and twenty healthy ones, and a table of what it says.

python scripts/check_doctor.py [--out results/doctor.json] [--runs FOLDER] [--seed 1000] [--only NAME ...]

A run is named rightly if the kind that belongs to its sabotage is among the findings, a healthy one if "healthy" is the only
finding. Runs take 40 steps of 32 scenes on a ViT of 4 blocks, 64 wide, or a small Swin. `--runs` keeps the run folders, so that
the doctor can look at them again. The table is written after every run, and the same command resumes it. Forty runs take
about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from cells import fill, open_table
from PIL import Image
from torch import nn

import repre_lite as rl
from repre_lite.evaluation.doctor import HEALTHY, examine
from repre_lite.frameworks.byol import BYOL
from repre_lite.recipes import override
from repre_lite.runtime.errors import NonFiniteError
from repre_lite.runtime.files import write_json

STEPS, BATCH, IMAGES = 40, 32, 256
HIDDEN = 256  # width of the heads
VIT = {"encoder": {"embed_dim": 64, "depth": 4, "num_heads": 2}, "patch_size": 8}
SWIN = {"arch": "swin_micro", "encoder": {"embed_dim": 24, "depths": (1, 1, 2)}}
SAME = dict.fromkeys(("flip", "jitter_p", "grey", "blur", "solarise"), 0.0) | {
    "scale": (1.0, 1.0),
    "ratio": (1.0, 1.0),
}
HIGH, LOW, CHANCE, COLLAPSED = "learning rate too high", "learning rate too low", "contrast at chance", "collapsed"
REPEAT, ALONE, BOUND, ALIKE = "images repeat", "reconstruction only", "log-variances", "views alike"


@contextmanager
def without_predictor() -> Iterator[None]:
    """BYOL without its predictor."""
    begin = BYOL.__init__

    @functools.wraps(begin)  # a recipe reads the names of the settings
    def bare(self: BYOL, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.predictor = nn.Identity()  # type: ignore[assignment]

    with mock.patch.object(BYOL, "__init__", bare):
        yield


@dataclass(frozen=True)
class Case:
    """A run: its framework, what it must be called, what differs from the recipe, its images, what is broken in the code."""

    framework: str
    expected: str = HEALTHY
    changes: dict[str, Any] = field(default_factory=dict)
    images: str = "scenes"
    broken: Callable[[], AbstractContextManager[None]] = nullcontext


def times(framework: str, factor: float) -> dict[str, Any]:
    """The framework's rate times a factor."""
    return {"base_lr": rl.recipe("folder", framework, "small").base_lr * factor}


def method(**settings: Any) -> dict[str, Any]:
    """Settings of the framework."""
    return {"method": settings}


SABOTAGED = {
    "simclr, rate x 100": Case("simclr", HIGH, times("simclr", 100)),
    "byol, rate x 100": Case("byol", HIGH, times("byol", 100)),
    "moco_v3, rate x 100": Case("moco_v3", HIGH, times("moco_v3", 100)),
    "dino, rate x 100": Case("dino", HIGH, times("dino", 100)),
    "moco_v2 bare, rate x 100": Case("moco_v2", HIGH, times("moco_v2", 100) | {"reconstruction": "none"}),
    "simclr, temperature 100": Case("simclr", CHANCE, method(temperature=100.0)),
    "moco_v3, temperature 100": Case("moco_v3", CHANCE, method(temperature=100.0)),
    "moby, temperature 100": Case("moby", CHANCE, method(temperature=100.0)),
    "byol, no predictor, momentum 0": Case("byol", COLLAPSED, method(momentum=0.0), broken=without_predictor),
    "dino, no centring": Case("dino", COLLAPSED, method(centre_momentum=1.0)),
    "dino, flat teacher": Case("dino", COLLAPSED, method(teacher_start=2.0, teacher_temperature=2.0)),
    "simclr, one image": Case("simclr", REPEAT, images="one"),
    "dino, one image": Case("dino", REPEAT, images="one"),
    "moco_v3, 32 images": Case("moco_v3", REPEAT, images="few"),
    "simclr, contrast weighs 0": Case("simclr", ALONE, {"weighting": "fixed:0,1"}),
    "moco_v3, contrast weighs 1e-6": Case("moco_v3", ALONE, {"weighting": "fixed:0.000001,1"}),
    "simsiam, log-variances at rate 5": Case("simsiam", BOUND, {"weighting_lr": 5.0}),
    "simclr, views alike": Case("simclr", ALIKE, {"same_views": True}),
    "moco_v3, rate 1e-9": Case("moco_v3", LOW, {"base_lr": 1e-9}),
    "moby, clipped to 1e-9": Case("moby", LOW, {"clip_norm": 1e-9}),
}
ARMS = ("none", "single", "detached")
HEALTHY_RUNS = (
    {name: Case(name) for name in ("simclr", "byol", "simsiam", "moco_v2", "moco_v3", "moby", "dino", "none")}
    | {
        f"{name}, bare": Case(name, changes={"reconstruction": "none"})
        for name in ("simclr", "byol", "simsiam", "dino")
    }
    | {f"moco_v3, {arm}": Case("moco_v3", changes={"reconstruction": arm}) for arm in ARMS}
    | {f"{name}, seed + 1": Case(name, changes={"seed": 1}) for name in ("simclr", "moco_v3")}
    | {f"{name}, Swin": Case(name, changes=SWIN) for name in ("moco_v3", "moby")}
    | {"simclr, vit_micro": Case("simclr", changes={"encoder": {}, "patch_size": None})}
)


def draw(folder: Path) -> None:
    """Three folders of images: scenes, all different; one scene; 32 scenes, again and again."""
    drawn = rl.scenes(range(IMAGES), size=32).images.permute(0, 2, 3, 1).numpy()  # (n, H, W, 3)
    for name, differ in (("scenes", IMAGES), ("one", 1), ("few", 32)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(IMAGES):
            Image.fromarray(drawn[index % differ]).save(folder / name / f"{index:04d}.png")


def recipe_of(case: Case, seed: int, data: Path) -> rl.Recipe:
    """The recipe of a case; its own seed is added."""
    changes = (
        {"steps": STEPS, "batch_size": BATCH, "device": "cpu", "data": str(data / case.images)} | VIT | case.changes
    )
    same = changes.pop("same_views", False)
    if case.framework in ("byol", "moco_v3", "moby", "dino"):
        changes["method"] = {"hidden": HIDDEN} | changes.get("method", {})
    if "arch" in changes:
        del changes["patch_size"]
    changes["seed"] = seed + changes.get("seed", 0)
    recipe = rl.recipe("folder", case.framework, "small", **changes)
    if same:
        sets = [f"views.{view}.{name}={value}" for view in (0, 1) for name, value in SAME.items()]
        recipe = override(recipe, sets)
    return recipe


def cell(case: Case, seed: int, data: Path, runs: Path, name: str) -> dict[str, Any]:
    """Train a case into a folder below `runs` and ask the doctor."""
    began, out = time.perf_counter(), runs / name.replace(" ", "_")
    torch.set_num_threads(1)
    with case.broken(), contextlib.suppress(NonFiniteError):  # the doctor reads what is left
        rl.train(recipe_of(case, seed, data), out, quiet=True)
    found = examine(out)
    kinds = [finding.kind for finding in found]
    right = kinds == [HEALTHY] if case.expected == HEALTHY else case.expected in kinds
    return {
        "expected": case.expected,
        "found": kinds,
        "right": right,
        "said": [str(finding) for finding in found],
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Fill the table, print how often each kind was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/doctor.json"))
    parser.add_argument("--runs", type=Path, help="keep the run folders here (default: nowhere)")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these runs (default: all)")
    options = parser.parse_args()
    table = open_table(options.out, {"steps": STEPS, "batch_size": BATCH, "images": IMAGES, "seed": options.seed})
    cases = {
        name: case
        for name, case in (SABOTAGED | HEALTHY_RUNS).items()
        if options.only in (None, []) or name in options.only
    }
    order = [*SABOTAGED, *HEALTHY_RUNS]
    cases = dict(
        sorted(cases.items(), key=lambda item: order.index(item[0]) % 20)
    )  # a stopped table holds some of both
    with tempfile.TemporaryDirectory() as place:
        data, runs = Path(place) / "images", options.runs or Path(place) / "runs"
        draw(data)
        runs.mkdir(parents=True, exist_ok=True)
        fill(
            options.out,
            table,
            {name: partial(cell, case, options.seed, data, runs, name) for name, case in cases.items()},
        )
    for group, names in (("sabotaged", SABOTAGED), ("healthy", HEALTHY_RUNS)):
        held = {name: table["cells"][name] for name in names if name in table["cells"]}
        table[group] = {"runs": len(held), "right": sum(one["right"] for one in held.values())}
    table["confusion"] = confusion(table["cells"])
    write_json(options.out, table)
    for expected, found in table["confusion"].items():
        print(f"{expected:26s} " + ", ".join(f"{kind} {count}" for kind, count in found.items()))
    for group in ("sabotaged", "healthy"):
        print(f"{group}: {table[group]['right']} of {table[group]['runs']} right")


def confusion(cells: dict[str, Any]) -> dict[str, dict[str, int]]:
    """What was expected -> what was found, and how often: the expected kind if it is among the findings, else the first."""
    table: dict[str, Counter[str]] = {}
    for one in cells.values():
        found = one["expected"] if one["right"] else one["found"][0]
        table.setdefault(one["expected"], Counter())[found] += 1
    return {expected: dict(found) for expected, found in table.items()}


if __name__ == "__main__":
    main()
