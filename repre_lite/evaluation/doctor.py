"""What the metrics of a run show, in sentences: what is wrong, the numbers that say so, and one remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runs import METRICS, NONFINITE, SUMMARY, Run, read_json, read_recipe
from ..runtime import files
from ..runtime.errors import UserError
from .chart import Chart, Metrics
from .symptoms import (
    ALONE,
    BOTH,
    CHANCE,
    LOW,
    Finding,
    alike,
    at_chance,
    bounded,
    clipped,
    collapsed,
    not_finite,
    patches_alike,
    rate_high,
    rate_low,
    reconstruction_only,
    repeats,
    unweighted,
)

EARLY, HEALTHY = "too early", "healthy"
SLOW = (CHANCE, ALONE, LOW)  # kinds that only many steps make sure


def examine(run: Run | str | Path) -> list[Finding]:
    """The findings of a run, finished or not, read from its folder without its networks.

    Raises UserError if it is not a run folder, or if nothing was logged.
    """
    folder = run.folder if isinstance(run, Run) else Path(run)
    facts = read_recipe(folder)[1]
    metrics = files.read_jsonl(folder / METRICS) if (folder / METRICS).exists() else []
    finished = (folder / SUMMARY).exists() and read_json(folder / SUMMARY).get("finished", False)
    ruined = (folder / NONFINITE).exists() and not finished
    if not metrics and not ruined:
        if finished:
            raise UserError(f"{folder}: {METRICS} of this finished run is missing or empty; restore it from a copy")
        raise UserError(f"{folder}: nothing has been logged yet; wait for the first step, or resume the run")
    return diagnose(metrics, facts, ruined)


def diagnose(metrics: Metrics, facts: Mapping[str, Any], ruined: bool = False) -> list[Finding]:
    """The findings of logged steps, worst first; one that says "healthy" or "too early" if there is nothing else.

    `facts`: the contents of recipe.json, or as many of them as there are. `ruined`: the step after the last logged one was
    not finite. A rule that lacks a number says nothing.
    """
    chart = Chart.of(metrics, facts)
    causes = [not_finite(chart) if ruined else None, repeats(chart), alike(chart), unweighted(chart)]
    causes.append(clipped(chart) or rate_low(chart))
    gone, unlearnt = collapsed(chart), at_chance(chart) or reconstruction_only(chart)
    if not any(causes):
        causes.append(rate_high(chart, bool(gone or unlearnt)))
    causes += [bounded(chart), patches_alike(chart)]
    symptoms = [gone] if gone or any(causes) else [unlearnt]  # what is learned follows from any of the others
    return [finding for finding in (*causes, *symptoms) if finding is not None] or [_well(chart)]


def _well(chart: Chart) -> Finding:
    last, total = chart.metrics[-1]["step"] if chart.metrics else 0, chart.facts.get("total_steps")
    if not chart.late:
        reached = f"step {last:,} of {total:,}" if total else f"step {last:,}"
        return Finding(EARLY, f"{reached}, no problem so far")
    said = []
    for name in BOTH:
        begun, now = chart.first(name), chart.last(name)
        if begun is not None and now is not None:
            said.append(f"the {name} loss went from {begun:.3g} to {now:.3g}")
    spread, rank = chart.last("embedding_std"), chart.last("effective_rank")
    if spread is not None and rank is not None:
        said.append(f"the embedding has a spread of {spread:.2g} and an effective rank of {rank:.1f}")
    begun, now = chart.first("patch_cosine"), chart.last("patch_cosine")
    if begun is not None and now is not None:
        changed = "more" if now > begun else "less"
        said.append(f"the patches of an image became {changed} alike at the last tap (cosine {begun:.3f} to {now:.3f})")
    return Finding(HEALTHY, ", ".join(said) or f"{last:,} steps")
