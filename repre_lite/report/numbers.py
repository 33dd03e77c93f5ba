"""What the runs measured, and how they were trained: tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from ..recipes import identity
from ..runs import RECIPE, Run, read_json
from .arms import Arm
from .pieces import table

# Key of summary.json -> name and format; % is for fractions of 1.
MEASURES: dict[str, tuple[str, str]] = {
    "knn_top1": ("k-NN top-1", "%"),
    "knn_top1_untrained": ("k-NN top-1, untrained", "%"),
    "knn_top1_pixels": ("k-NN top-1, raw pixels", "%"),
    "linear_top1": ("linear probe top-1", "%"),
    "linear_top1_untrained": ("linear probe top-1, untrained", "%"),
    "linear_sgd_top1": ("linear probe by SGD, top-1", "%"),
    "linear_sgd_top1_untrained": ("linear probe by SGD, top-1, untrained", "%"),
    "finetune_top1": ("fine-tuned top-1", "%"),
    "finetune_top1_untrained": ("fine-tuned top-1, untrained", "%"),
    "dense_miou": ("mIoU of patch probes", "%"),
    "dense_miou_untrained": ("mIoU of patch probes, untrained", "%"),
    "patch_cosine": ("cosine between patches", ".3f"),
    "patch_cosine_untrained": ("cosine between patches, untrained", ".3f"),
    "online_knn_top1": ("online k-NN top-1", "%"),
    "miou": ("mIoU", "%"),
    "macc": ("mAcc", "%"),
    "box_map": ("box mAP", "%"),
    "mask_map": ("mask mAP", "%"),
    "contrastive": ("contrastive loss, last batch", ".3f"),
    "reconstruction_l1": ("reconstruction L1, last batch", ".4f"),
    "reconstruction_psnr": ("reconstruction PSNR in dB", ".2f"),
    "images_per_second": ("images per second", ".0f"),
    "wall_seconds": ("seconds", ".0f"),
    "peak_memory_bytes": ("peak memory in MB", "MB"),
}
ENVIRONMENT = (
    "hardware",
    "threads",
    "processes",
    "precision_used",
    "git_commit",
    "image_count",
    "origin",
    "total_steps",
    "fingerprint",
)


def summary(arms: list[Arm]) -> str:
    """Every measure of every arm, mean and spread over its runs; then differences to the first arm, paired by seed."""
    present = [name for name in MEASURES if any(arm.values(name) for arm in arms)]
    if not present:
        return "<p>Nothing has been measured yet.</p>"
    rows = [[MEASURES[name][0], *(_mean(arm.values(name), MEASURES[name][1]) for arm in arms)] for name in present]
    several = any(len(arm.runs) > 1 for arm in arms)
    caption = "Mean ± standard deviation over runs" if several else "One run each: no standard deviation"
    parts = [table(caption, ["measure", *(f"{arm.name} (n = {len(arm.runs)})" for arm in arms)], rows)]
    for arm in arms[1:]:
        rows = []
        for name in present:
            label, kind = MEASURES[name]
            gaps = arm.gaps(arms[0], name)
            if gaps:
                each = "; ".join(f"seed {seed}: {_written(gap, kind, '+')}" for seed, gap in gaps.items())
                rows.append([label, _mean(gaps, kind, "+"), each])
        caption = f"Difference: {arm.name} minus {arms[0].name}, paired by seed" + (": no seed in common" * (not rows))
        parts.append(table(caption, ["measure", "mean", "each seed"], rows))
    return "\n".join(parts)


def _written(value: float, kind: str, sign: str = "") -> str:
    """A value as its measure is written: accuracies in percent, their differences in points."""
    if kind == "%":
        return f"{100 * value:{sign}.1f} " + ("points" if sign else "%")
    return f"{value / 1e6:{sign}.0f}" if kind == "MB" else f"{value:{sign}{kind}}"


def _mean(values: dict[int, float], kind: str, sign: str = "") -> str:
    """ "51.2 %" of one run, "51.2 % ± 1.3 %" of several, a dash of none."""
    if not values:
        return "–"
    mean = _written(statistics.fmean(values.values()), kind, sign)
    deviation = statistics.stdev(values.values()) if len(values) > 1 else None
    spread = (
        "" if deviation is None else f" ± {_written(deviation, kind, '-' if sign else '')}"
    )  # "-": a sign if negative
    return mean + spread


def recipes(arms: list[Arm]) -> str:
    """Every field of every arm's recipe, those that differ first."""
    held = [identity(arm.runs[0].recipe) | {"seed": [run.recipe.seed for run in arm.runs]} for arm in arms]
    order = sorted(held[0], key=lambda name: all(recipe[name] == held[0][name] for recipe in held))
    rows = [[name, *(_plain(recipe[name]) for recipe in held)] for name in order]
    caption = "Fields that differ come first" if len(arms) > 1 else "Everything that determines the result of the run"
    return table(caption, ["field", *(arm.name for arm in arms)], rows)


def environment(runs: Sequence[Run]) -> str:
    """Machine, software and data of each run."""
    held = [read_json(run.folder / RECIPE) for run in runs]
    flat = [{name: one.get(name) for name in ENVIRONMENT} | one.get("versions", {}) for one in held]
    for one in flat:
        one["git_commit"] = (one["git_commit"] or "")[:12] or None
    rows = [[name, *(_plain(one.get(name)) for one in flat)] for name in flat[0]]
    return table("As recorded at the start of each run", ["", *(run.folder.name for run in runs)], rows)


def _plain(value: object) -> str:
    """A value of a JSON file without its quotes and braces; a dash for none."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items()) or "–"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):  # views
        return "; ".join(f"{number}: {_plain(each)}" for number, each in enumerate(value))
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)
