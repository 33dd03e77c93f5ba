"""Which of several runs belong together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.naming import named
from ..recipes import identity, recipe
from ..runs import RECIPE, Run, read_json
from ..runtime.errors import UserError

SHORT = 48  # characters of a name in a legend


@dataclass(frozen=True)
class Arm:
    """Runs of the same images whose recipes differ only in the seed; `name` holds the fields in which arms differ; `short`, for
    legends, the same in fewer words."""

    name: str
    runs: tuple[Run, ...]
    short: str = ""

    def values(self, measure: str) -> dict[int, float]:
        """seed -> the value of `measure` in summary.json, for the runs that have it; the last one logged of what is
        measured online, if a run is not finished."""
        found = {}
        for run in self.runs:
            logged = (
                [line[measure] for line in run.metrics if line.get(measure) is not None] if "online" in measure else []
            )
            value = run.summary.get(measure, logged[-1] if logged else None)
            if value is not None:
                found[run.recipe.seed] = value
        return found

    def mean(self, measure: str) -> float:
        """The mean of `values`, of which there must be one."""
        return statistics.fmean(self.values(measure).values())

    def gaps(self, other: Arm, measure: str) -> dict[int, float]:
        """seed -> how much larger the value is than that of `other`, for the seeds that both have."""
        theirs = other.values(measure)
        return {seed: value - theirs[seed] for seed, value in sorted(self.values(measure).items()) if seed in theirs}


def group(runs: Sequence[Run]) -> list[Arm]:
    """The arms of `runs`, in the order of their first runs.

    Raises UserError for two runs that differ in nothing, the seed included.
    """
    groups: dict[str, list[Run]] = {}
    for run, images in zip(runs, _images(runs), strict=True):
        key = {name: value for name, value in identity(run.recipe).items() if name != "seed"} | {"images": images}
        members = groups.setdefault(json.dumps(key), [])
        twice = next((member for member in members if member.recipe.seed == run.recipe.seed), None)
        if twice is not None:
            raise UserError(f"{twice.folder} and {run.folder}: the same recipe, images and seed; give one of them")
        members.append(run)
    keys = [_leaves(json.loads(key)) for key in groups]
    names = list(dict.fromkeys(name for key in keys for name in key))
    differ = [name for name in names if any(key.get(name) != keys[0].get(name) for key in keys)]
    if "scale" in differ and all(key["images"] == key["scale"] for key in keys):
        differ.remove("images")
    if "framework" in differ:  # what follows from the framework is not named
        usual = [_leaves(_default(json.loads(key))) for key in groups]
        chosen = ("framework", "arch", "scale", "size")
        differ = [
            name
            for name in differ
            if name in chosen or any(key.get(name) != own.get(name) for key, own in zip(keys, usual, strict=True))
        ]
    shorts = [", ".join(_short(key, name) for name in differ or ("reconstruction",)) for key in keys]
    return [
        Arm(
            ", ".join(f"{name} {_said(key, name)}" for name in differ or ("framework", "arch", "reconstruction")),
            tuple(members),
            short if len(short) <= SHORT else f"{number} ({short[: SHORT - 8]} …)",
        )
        for number, (key, short, members) in enumerate(zip(keys, shorts, groups.values(), strict=True), 1)
    ]


def _images(runs: Sequence[Run]) -> list[str]:
    """What the training images of each run are called: a public data set by its name, a folder by its own, and by its path
    if another folder has the same name. Folders of equal fingerprint are one."""
    found: list[str] = []
    known: dict[str, str] = {}
    for run in runs:
        facts = read_json(run.folder / RECIPE)
        data, scale = run.recipe.data, run.recipe.scale
        name = named(scale, facts.get("origin"))
        if scale == "folder" and data is not None:
            name = known.setdefault(str(facts.get("fingerprint")), str(Path(data).absolute()))
        found.append(name)
    ends = {path: Path(path).name for path in known.values()}
    return [ends[name] if list(ends.values()).count(ends.get(name, "")) == 1 else name for name in found]


def _leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names, such as "method.temperature" and "views.0.scale"."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value, found[f"number of {name}"] = {str(number): each for number, each in enumerate(value)}, len(value)
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": each for inner, each in _leaves(value).items()}
        else:
            found[name] = value
    return found


def _default(key: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the recipe of a scale, size, framework and encoder has by itself."""
    try:
        return identity(recipe(key["scale"], key["framework"], key["size"], arch=key["arch"]))
    except UserError:  # an encoder that needs more settings than its name
        return {}


def _short(key: Mapping[str, Any], name: str) -> str:
    """A value alone if it is a word that says what it is; numbers with the end of their name."""
    value = key.get(name)
    return value if isinstance(value, str) else f"{name.rpartition('.')[2]} {_said(key, name)}"


def _said(key: Mapping[str, Any], name: str) -> str:
    value = key.get(name, "default")
    return "none" if value is None else str(value)
