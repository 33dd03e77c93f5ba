"""A run as the bench shows it: its moments of training, the mean of each tap, and the principal axes of the taps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..decoder import ReconstructionDecoder
from ..encoder import Features, TappedEncoder
from ..runs import Run
from .kit.live import live, pack_tensor, quantised
from .kit.subject import last_step, normalising
from .kit.words import BENCH as WORDS


@dataclass(frozen=True)
class Stage:
    """One moment of training: `step`, and the networks as the page runs them, with weights as small integers."""

    step: int
    encoder: TappedEncoder
    decoder: ReconstructionDecoder | None


@dataclass(frozen=True)
class Subject:
    """One run on the bench: its `stages`, the last being the run itself; `mean`, `std` of its images; for each tap the
    mean over images, (C_i,), and three principal axes with their ranges, (C_i,), (3, C_i), (3,), (3,)."""

    name: str
    note: str
    stages: tuple[Stage, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    means: tuple[Tensor, ...]
    axes: tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """The step of each stage."""
        return tuple(stage.step for stage in self.stages)

    def at(self, step: int) -> Stage:
        """The last stage that is not after `step`; the first if all are."""
        return next((stage for stage in reversed(self.stages) if stage.step <= step), self.stages[0])


def subject_of(run: Run, name: str, fitted: Tensor, budget: int) -> Subject:
    """A run as the page shows it. Its earlier moments are as many as fit into `budget` bytes, evenly spread; none if
    snapshots hold another encoder than the one whose taps the decoder reads, as DINO's do."""
    end = last_step(run)
    steps = [step for step in run.snapshots if step < end] if run.evaluated is run.encoder else []
    steps = steps if len(steps) > 1 else []
    models = [(step, run.at(step)) for step in steps]
    stages = [Stage(step, model.framework.evaluated, model.decoder) for step, model in models]
    last = Stage(end, run.encoder, run.decoder)
    size = sum(p.numel() for part in (last.encoder, last.decoder) if part is not None for p in part.parameters())
    most = min(len(stages), int(budget / (1.34 * size)))
    kept = [stages[round(i * (len(stages) - 1) / max(1, most - 1))] for i in range(most)]
    made = tuple(Stage(stage.step, *quantised(stage.encoder, stage.decoder)) for stage in (*kept, last))
    features: Features = made[-1].encoder(normalising(run.mean, run.std)(fitted))
    means, axes = [], []
    for tap in features.taps:
        rows = tap.permute(0, 2, 3, 1).flatten(0, 2)  # (B h w, C)
        middle = rows.mean(0)
        directions = torch.linalg.svd(rows - middle, full_matrices=False).Vh[:3]  # (3, C)
        projected = (rows - middle) @ directions.T  # (B h w, 3)
        low, high = projected.quantile(torch.tensor([0.02, 0.98]), dim=0)
        means.append(middle)
        axes.append((middle, directions, low, high))
    note = WORDS["note"].format(**run.summary) if "knn_top1" in run.summary else ""
    return Subject(name, note, made, run.mean, run.std, tuple(means), tuple(axes))


def packed_subject(subject: Subject) -> dict[str, Any]:
    """A subject as kinds/bench.js shows it; `live` is for worker.js."""
    stages = [live(stage.encoder, stage.decoder, subject.mean, subject.std) for stage in subject.stages]
    axes = [dict(zip(("mean", "axes", "low", "high"), map(pack_tensor, each), strict=True)) for each in subject.axes]
    text = json.dumps(
        {"steps": subject.steps, "stages": stages, "means": [pack_tensor(mean) for mean in subject.means], "axes": axes}
    )
    decodes = subject.stages[-1].decoder is not None
    return {"name": subject.name, "note": subject.note, "steps": subject.steps, "decodes": decodes, "live": text}
