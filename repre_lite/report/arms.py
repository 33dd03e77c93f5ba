"""Which of several runs belong together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ..recipes import identity
from ..runs import Run


@dataclass(frozen=True)
class Arm:
    """Runs whose recipes differ only in the seed; `name` holds the fields in which arms differ."""

    name: str
    runs: tuple[Run, ...]

    def values(self, measure: str) -> dict[int, float]:
        """seed -> the value of `measure` in summary.json, for the runs that have it."""
        return {run.recipe.seed: v for run in self.runs if (v := run.summary.get(measure)) is not None}


def group(runs: Sequence[Run]) -> list[Arm]:
    """The arms of `runs`, in the order of their first runs."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = {name: value for name, value in identity(run.recipe).items() if name != "seed"}
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(run)
    keys = [json.loads(key) for key in groups]
    differ = [
        name for name in identity(runs[0].recipe) if name != "seed" and any(k[name] != keys[0][name] for k in keys)
    ]
    return [
        Arm(
            ", ".join(f"{name} {key[name]}" for name in differ or ("framework", "arch", "reconstruction")),
            tuple(members),
        )
        for key, members in zip(keys, groups.values(), strict=True)
    ]
