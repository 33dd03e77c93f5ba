"""The doctor's input: what a run logged, and the facts of its recipe."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..frameworks import framework_class
from .usual import far

Metrics = Sequence[Mapping[str, Any]]  # lines of metrics.jsonl
ENOUGH = 10  # records after the warm-up and the first tenth of the run: fewer say nothing


@dataclass(frozen=True)
class Chart:
    """What the rules look at. `metrics`: all logged steps; `late`: the last ones, after the warm-up, none if it is too
    early; `facts`: the contents of recipe.json."""

    metrics: Metrics
    late: Metrics
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, metrics: Metrics, facts: Mapping[str, Any]) -> Chart:
        """The chart of some logged steps; `late` are the last fifth, 5 to 50 of them."""
        total = facts.get("total_steps") or (metrics[-1]["step"] if metrics else 0)
        warmup = min(1.0, facts.get("warmup_epochs", 0.0) / max(1, facts.get("epochs", 1))) * total
        after = [record for record in metrics if record["step"] > max(warmup, total / 10)]
        late = after[-min(50, max(5, len(after) // 5)) :] if len(after) >= ENOUGH else []
        return cls(metrics, late, facts)

    @property
    def framework(self) -> str:
        """Its name."""
        return str(self.facts.get("framework", ""))

    @property
    def contrasts(self) -> bool:
        """Whether there is a contrastive loss."""
        return any(record.get("contrastive") is not None for record in self.metrics)

    @property
    def rises(self) -> bool:
        """Whether the contrastive loss may rise at first though all is well."""
        return bool(self.framework) and framework_class(self.framework).loss_rises

    @property
    def floor(self) -> float:
        """The lowest value of the contrastive loss."""
        return framework_class(self.framework).loss_floor if self.framework else 0.0

    def values(self, name: str) -> list[float]:
        """All values of a measure."""
        return [record[name] for record in self.metrics if record.get(name) is not None]

    def first(self, name: str) -> float | None:
        """The initial value of a measure: the median of its first three values."""
        values = self.values(name)[:3]
        return statistics.median(values) if values else None

    def last(self, name: str) -> float | None:
        """The present value of a measure: the median of `late`; None if it is too early or was not logged."""
        values = [record[name] for record in self.late if record.get(name) is not None]
        return statistics.median(values) if values else None

    def remedy(self, names: Sequence[str], otherwise: str) -> str:
        """One remedy: the first of some settings that is far from the usual one, or something else."""
        return far(self.facts, names) or otherwise

    @property
    def watch(self) -> str:
        """What its framework says to look at, in parentheses."""
        return f" ({framework_class(self.framework).watch})" if self.framework else ""

    @property
    def rate(self) -> str:
        """The base learning rate as a setting; the learning rate itself if it is set."""
        if self.facts.get("lr") is not None:
            return f"lr={self.facts['lr']:g}"
        return f"base_lr={self.facts['base_lr']:g}" if "base_lr" in self.facts else "base_lr="
