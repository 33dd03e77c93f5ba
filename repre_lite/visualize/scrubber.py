"""Time x depth: one image through the snapshots of one or several runs, and through the blocks of their encoders."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backbone import is_hierarchical, unwrap
from ..repre import RePre
from ..runs import Run
from ..runtime.errors import UserError
from ..runtime.text import plain_text
from .kit import palette
from .kit.capture import capture
from .kit.drawing import Figure, show_image
from .kit.extra import extra
from .kit.panel import panel
from .kit.subject import has_token
from .kit.words import percent
from .levels import colours

NO_DECODER = "no decoder"
NO_TAPS = "no reconstruction: snapshots hold the target, the decoder reads the online encoder"


@dataclass(frozen=True)
class Moment:
    """One snapshot. `reconstruction` (H, W, 3), clipped for display, and its `l1`, or None, and `missing` says why. Of each
    of L blocks (stages of a Swin): `attention` (h, w), see `BlockAttention.overall`; `features` (h, w, 3), three principal
    components as colours."""

    reconstruction: np.ndarray | None
    l1: float | None
    attention: tuple[np.ndarray, ...]
    features: tuple[np.ndarray, ...]
    missing: str = ""


@dataclass(frozen=True)
class Scrubber:
    """`image` (H, W, 3) in [0, 1]; `moments`: name of a run -> its T snapshots, the untrained model first; `steps` (T,): the
    step after which each was taken; `class_token`: whether attention is that of one."""

    image: np.ndarray
    moments: dict[str, tuple[Moment, ...]]
    steps: tuple[int, ...]
    class_token: bool

    @classmethod
    def compute(cls, runs: Mapping[str, Run], image: Tensor) -> Scrubber:
        """The snapshots that all `runs` share, on `image` (3, H, W) in [0, 1]. Raises UserError for runs without a snapshot
        in common, or of different depth."""
        steps = sorted(set.intersection(*(set(run.snapshots) for run in runs.values())))
        if len(steps) < 2:
            raise UserError(
                f"{', '.join(str(run.folder) for run in runs.values())}: the runs have no snapshots at the same steps; train with "
                "snapshots=8, and with equal steps= to compare runs"
            )
        models = {name: [run.at(step) for step in steps] for name, run in runs.items()}
        moments = {name: _steady([_moment(model, image) for model in several]) for name, several in models.items()}
        if len({len(several[0].attention) for several in moments.values()}) > 1:
            raise UserError("the encoders of these runs differ in depth; show them one by one")
        class_token = has_token(next(iter(runs.values())).encoder)
        return cls(image.permute(1, 2, 0).numpy(), moments, tuple(steps), class_token)

    @property
    def depth(self) -> int:
        """L: blocks, or stages of a Swin."""
        return len(next(iter(self.moments.values()))[0].attention)

    @property
    def brightest(self) -> float:
        """The largest attention anywhere: where the colour scale of every map ends."""
        return max(float(a.max()) for several in self.moments.values() for moment in several for a in moment.attention)

    def draw(self, axes: Any, moment: Moment, block: int) -> Any:
        """Reconstruction, attention and features of one moment into three matplotlib axes; returns the attention map."""
        if moment.reconstruction is None:
            size = 9 if moment.missing == NO_DECODER else 6
            axes[0].text(0.5, 0.5, textwrap.fill(moment.missing, 20), ha="center", va="center", fontsize=size)
            axes[0].set(xticks=[], yticks=[], aspect="equal")
        else:
            show_image(axes[0], moment.reconstruction)
            axes[0].set_xlabel(f"L1 {moment.l1:.3f}", fontsize=9)
        show_image(axes[2], moment.features[block])
        return show_image(axes[1], moment.attention[block], **palette.attention_map(self.brightest))

    def figure(self, time: int | None = None, block: int | None = None) -> Figure:
        """Reconstruction, attention and features of each run at one depth, over time from left to right; or one moment,
        a column for each run. `block` None means the last."""
        block = self.depth - 1 if block is None else block
        return self._over_time(block) if time is None else self._moment(time, block)

    def _over_time(self, block: int) -> Figure:
        rows, columns = 3 * len(self.moments), len(self.steps)
        figure = Figure(1.2 * columns + 1, 1.25 * rows)
        axes = figure.subplots(rows, columns)
        for index, (name, several) in enumerate(self.moments.items()):
            part = axes[3 * index : 3 * index + 3]
            for column, moment in enumerate(several):
                shown = self.draw(part[:, column], moment, block)
                part[0, column].set_title(f"step {self.steps[column]}" if index == 0 else "", fontsize=9)
            rows_of_run = f"{plain_text(name)}\nreconstruction", "attention", "features"
            for axis, row in zip(part[:, 0], rows_of_run, strict=True):
                axis.set_ylabel(row, fontsize=9, parse_math=False)
            figure.colorbar(shown, ax=part[1], fraction=0.02, label="share")
        return figure

    def _moment(self, time: int, block: int) -> Figure:
        columns = len(self.moments) + 1
        figure = Figure(2 * columns, 5.6)
        axes = figure.subplots(3, columns)
        show_image(axes[0][0], self.image, "image")
        for axis in axes[1:, 0]:
            axis.set_axis_off()
        for column, (name, several) in enumerate(self.moments.items(), 1):
            shown = self.draw(axes[:, column], several[time], block)
            axes[0][column].set_title(plain_text(name), fontsize=9, parse_math=False)
        for axis, row in zip(axes[:, 1], ("reconstruction", "attention", "features"), strict=True):
            axis.set_ylabel(row, fontsize=9)
        figure.colorbar(shown, ax=axes[1, 1:], fraction=0.03, label="share of attention")
        return figure

    def describe(self, time: int | None = None, block: int | None = None) -> str:
        """One moment at one block, or all of them, in one sentence."""
        looks = "the class token looks most" if self.class_token else "most attention goes"
        if time is None:
            first, last = ({n: m[i] for n, m in self.moments.items()} for i in (0, -1))
            changes = [f"{n} from L1 {first[n].l1:.3f} to {last[n].l1:.3f}" for n in first if first[n].l1 is not None]
            return f"{len(self.steps)} moments of {', '.join(self.moments)} at {self.depth} depths; " + (
                f"reconstructions go {'; '.join(changes)}."
                if changes
                else "none has a decoder."
                if all(moment.missing == NO_DECODER for moment in first.values())
                else f"{NO_TAPS}."
            )
        block = self.depth - 1 if block is None else block
        parts = []
        for name, several in self.moments.items():
            moment, attention = several[time], several[time].attention[block]
            row, column = np.unravel_index(attention.argmax(), attention.shape)
            l1 = "" if moment.l1 is None else f"reconstructs with L1 {moment.l1:.3f}, "
            parts.append(f"{name} {l1}{looks} on row {row}, column {column} ({percent(attention.max())}%)")
        return f"After step {self.steps[time]}, at depth {block}: {'; '.join(parts)}."

    def widget(self) -> Any:
        """Sliders for time and depth; a column for each run."""
        widgets = extra("ipywidgets")
        moments = [(f"step {step}", index) for index, step in enumerate(self.steps)]
        return panel(
            self,
            time=widgets.SelectionSlider(options=moments, value=len(moments) - 1, description="time"),
            block=widgets.IntSlider(self.depth - 1, 0, self.depth - 1, description="depth"),
        )


@torch.no_grad()
def _moment(model: RePre, image: Tensor) -> Moment:
    """One forward gives attention, features and, through the decoder, the reconstruction."""
    encoder = model.framework.evaluated
    depth = len(unwrap(encoder.backbone).feature_info)  # type: ignore[arg-type]
    blocks, (_, features) = capture(encoder.backbone, model.normalise(image), tuple(range(depth)))
    shown, l1, missing = None, None, NO_DECODER if model.decoder is None else NO_TAPS
    if model.decoder is not None and encoder is model.framework.online:
        reconstruction = model.decoder([features[index] for index in encoder.tap_indices])[0]  # (3, H, W)
        shown = reconstruction.clamp(0, 1).permute(1, 2, 0).numpy()
        l1 = float((reconstruction - image).abs().mean())
    if is_hierarchical(encoder.backbone):
        blocks = list({block.grid: block for block in blocks}.values())  # the last block of each stage
    attention = tuple(block.overall() for block in blocks)
    return Moment(
        shown, l1, attention, tuple(colours(tap[0]) for tap in features), "" if shown is not None else missing
    )


def _steady(moments: list[Moment]) -> tuple[Moment, ...]:
    """The sign of a principal component is arbitrary: flip each to agree with the moment before, so that colours stay."""
    for before, after in itertools.pairwise(moments):
        for one, two in zip(before.features, after.features, strict=True):
            for c in range(3):
                if ((one[..., c] - one[..., c].mean()) * (two[..., c] - two[..., c].mean())).sum() < 0:
                    two[..., c] = 1 - two[..., c]
    return tuple(moments)
