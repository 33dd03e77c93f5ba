"""Trained runs that ship with the package, so that lessons and views begin with an encoder that has learned something.

`vit_micro` with MoCo v3 on the scenes, arms that start from the same encoder and see the same views. They are made by
`scripts/make_artefacts.py`; weights are 8-bit integers, and each folder's summary.json holds the accuracies before and
after that, with hardware and versions in recipe.json. Snapshots are stored as small differences: their reconstruction
errors are up to 15 % above those of the run. The folder also holds the table of shorter runs over several seeds, a copy of
results/local-scenes.cells.csv.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from ...runs import RECIPE, Run, load_run
from ...runtime.errors import UserError

FOLDER = Path(__file__).parent
PAIRS, PREFIX = FOLDER / "local-scenes.cells.csv", "local-scenes-moco_v3-vit_micro-"


def names() -> tuple[str, ...]:
    """What `artefact` takes."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{RECIPE}")))


@cache
def artefact(name: str) -> Run:
    """A trained run that ships with the package, read once: "multi", "single" or "detached".

    Heads are untrained; encoder, decoder, metrics and snapshots are those of the run. Raises UserError for other names.
    """
    if name not in names():
        raise UserError(
            f"no artefact {name!r}: choose one of {', '.join(names()) or 'none; the package holds no runs'}"
        )
    return load_run(FOLDER / name)


def pairs(measure: str) -> dict[str, dict[int, float]]:
    """`measure` of runs of 300 steps on the scenes, by arm and by seed: "detached", "single", "multi".

    The arms of a seed start from the same encoder and see the same views. `reproduce/primary.json` defines each measure;
    shares lie in [0, 1]. Raises UserError for a measure that the table does not hold.
    """
    with PAIRS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known = [name for name in rows[0] if name not in ("cell", "seed")]
    if measure not in known:
        raise UserError(f"no measure {measure!r}: choose one of {', '.join(known)}")
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        arm = row["cell"].removeprefix(PREFIX).removesuffix(f"-{row['seed']}")
        if row[measure]:
            found.setdefault(arm, {})[int(row["seed"])] = float(row[measure])
    return found
