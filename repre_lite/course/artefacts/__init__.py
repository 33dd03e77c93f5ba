"""Trained runs that ship with the package, so that lessons and views begin with an encoder that has learned something.

`vit_micro` with MoCo v3 on the scenes, arms that start from the same encoder and see the same views. They are made by
`scripts/make_artefacts.py`; weights are 8-bit integers, and each folder's summary.json holds the accuracies before and
after that, with hardware and versions in recipe.json. Snapshots are stored as small differences: their reconstruction
errors are up to 15 % above those of the run.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ...runs import RECIPE, Run, load_run
from ...runtime.errors import UserError

FOLDER = Path(__file__).parent


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
