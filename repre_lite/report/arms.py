"""Which of several runs belong together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..recipes import identity
from ..runs import Run


@dataclass(frozen=True)
class Arm:
    """Runs whose recipes differ only in the seed; `name` holds the fields in which arms differ, `short` their values alone."""

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
            ", ".join(str(key[name]) for name in differ or ("reconstruction",)),
        )
        for key, members in zip(keys, groups.values(), strict=True)
    ]
