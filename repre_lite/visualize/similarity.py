"""How alike the patches of an image are inside an encoder: at every tap, over training, of several runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..encoder import TappedEncoder
from ..evaluation import patch_cosine
from ..runs import Run
from ..runtime.errors import UserError
from ..runtime.modes import evaluating
from ..runtime.text import plain_text
from .kit import palette
from .kit.drawing import Figure, legend, outline, show_image
from .kit.extra import extra
from .kit.panel import panel
from .kit.subject import last_step, tap_names

MOMENTS = 6  # of training, at most, evenly spread over those that were kept


@dataclass(frozen=True)
class PatchSimilarity:
    """`image` (H, W, 3) in [0, 1]; `taps`: names of K taps; `steps` (T,): moments of training, the last being the
    latest end. For each run `ends`: the step of its last moment; `cosines` (T, K): the mean cosine between two patches of
    an image, over images; `maps`, for each
    moment and tap (h, w, h, w): the cosine of each two patches of `image`."""

    image: np.ndarray
    taps: tuple[str, ...]
    steps: tuple[int, ...]
    cosines: dict[str, np.ndarray]
    maps: dict[str, tuple[tuple[np.ndarray, ...], ...]]
    ends: dict[str, int]

    @classmethod
    def compute(cls, runs: Mapping[str, Run], images: Tensor) -> PatchSimilarity:
        """The untrained encoder, the snapshots that all `runs` share, and their ends, on `images` (B, 3, H, W) in [0, 1], of
        which the first is shown. Raises UserError if the runs' taps lie at different places."""
        first = next(iter(runs.values()))
        taps = tap_names(first.evaluated)
        if any(
            (tap_names(r.evaluated), r.evaluated.tap_grids) != (taps, first.evaluated.tap_grids) for r in runs.values()
        ):
            raise UserError("the runs differ in taps or grid; show those of one architecture and tap_blocks= together")
        ends = {name: last_step(run) for name, run in runs.items()}
        snapshots = set.intersection(*(set(run.snapshots) for run in runs.values()))
        shared = sorted(step for step in snapshots if step < min(ends.values()))
        most = min(MOMENTS - 1, len(shared))
        shared = [shared[round(i * (len(shared) - 1) / max(1, most - 1))] for i in range(most)]
        cosines, maps = {}, {}
        for name, run in runs.items():
            encoders = [run.at(step).framework.evaluated for step in shared] + [run.evaluated]
            found = [_moment(encoder, run.model.normalise(images)) for encoder in encoders]
            cosines[name] = np.array([means for means, _ in found])  # (T, K)
            maps[name] = tuple(several for _, several in found)
        return cls(images[0].permute(1, 2, 0).numpy(), taps, (*shared, max(ends.values())), cosines, maps, ends)

    def figure(self, tap: int | None = None, row: int | None = None, column: int | None = None) -> Figure:
        """Above, the mean cosine over steps at every tap; below, for each run the image with one patch outlined and, over
        time, the cosine of that patch with all others at one `tap`, from the lowest of all maps (dark) to 1.
        None: the last tap, and the patch in the middle."""
        tap, row, column = self._chosen(tap, row, column)
        h, w = self.maps[next(iter(self.maps))][0][tap].shape[:2]
        columns = len(self.steps) + 1
        figure = Figure(max(1.35 * columns + 0.6, 7), 2.5 + 1.5 * len(self.maps), "constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(2.5, 1.5 * len(self.maps)))
        above, below = parts
        self._over_steps(above, tap)
        axes = below.subplots(len(self.maps), columns, squeeze=False)
        lowest = min(float(maps[tap][row, column].min()) for moments in self.maps.values() for maps in moments)
        look = {"cmap": "viridis", "vmin": min(lowest, 0.99), "vmax": 1}  # one range for all, so that they compare
        height, width = self.image.shape[0] / h, self.image.shape[1] / w
        for line, (name, moments) in zip(axes, self.maps.items(), strict=True):
            show_image(line[0], self.image)
            line[0].set_ylabel(plain_text(name), fontsize=9, parse_math=False)
            outline(line[0], (row * height, column * width, height, width))
            for axis, step, maps in zip(line[1:], self._moments(name), moments, strict=True):
                shown = show_image(axis, maps[tap][row, column], "untrained" if step == 0 else f"step {step}", **look)
                outline(axis, (row, column, 1, 1))
            below.colorbar(shown, ax=line[-1], fraction=0.05)
        return figure

    def _moments(self, name: str) -> tuple[int, ...]:
        """The steps of one run's moments."""
        return (*self.steps[:-1], self.ends[name])

    def _over_steps(self, owner: Any, tap: int) -> None:
        axes = owner.subplots(1, len(self.taps), sharey=True, squeeze=False)[0]
        for index, axis in enumerate(axes):
            handles = []
            for number, (name, values) in enumerate(self.cosines.items()):
                handles += axis.plot(
                    self._moments(name), values[:, index], markersize=3, **palette.series(number).options()
                )
            axis.set_title(self.taps[index], fontsize=9, fontweight="bold" if index == tap else "normal")
            axis.set_xlabel("step", fontsize=8)
            axis.xaxis.get_major_locator().set_params(integer=True, nbins=4)
            axis.tick_params(labelsize=8)
        axes[0].set_ylabel("cosine between patches", fontsize=8)
        if len(self.cosines) > 1:
            legend(axes[0], handles, list(self.cosines), fontsize=8)

    def describe(self, tap: int | None = None, row: int | None = None, column: int | None = None) -> str:
        """The mean cosine at one tap at the beginning and at the end, and that of one patch with the others."""
        tap, row, column = self._chosen(tap, row, column)
        parts = []
        for name, values in self.cosines.items():
            last = self.maps[name][-1][tap]
            others = (last[row, column].sum() - last[row, column, row, column]) / max(1, last[row, column].size - 1)
            change = f"from {values[0, tap]:.2f} to " if len(self.steps) > 1 else ""
            ended = f" after step {self.ends[name]}" if len(set(self.ends.values())) > 1 else ""
            parts.append(
                f"{plain_text(name)} {change}{values[-1, tap]:.2f}{ended} (patch in row {row}, column {column}: {others:.2f})"
            )
        return (
            f"Mean cosine between two patches of an image at {self.taps[tap]}, from step {self.steps[0]} to {self.steps[-1]}: "
            f"{'; '.join(parts)}; 1 means that all are alike."
        )

    def _chosen(self, tap: int | None, row: int | None, column: int | None) -> tuple[int, int, int]:
        """The patch of the chosen tap's grid, which covers that of the finest."""
        several = self.maps[next(iter(self.maps))][0]
        tap = len(self.taps) - 1 if tap is None else tap
        (h, w), (rows, columns) = several[tap].shape[:2], several[0].shape[:2]
        row, column = rows // 2 if row is None else row, columns // 2 if column is None else column
        return tap, row * h // rows, column * w // columns

    def widget(self) -> Any:
        """Sliders over taps and patches."""
        slider = extra("ipywidgets").IntSlider
        h, w = self.maps[next(iter(self.maps))][0][0].shape[:2]
        return panel(
            self,
            tap=slider(len(self.taps) - 1, 0, len(self.taps) - 1, description="tap"),
            row=slider(h // 2, 0, h - 1, description="row"),
            column=slider(w // 2, 0, w - 1, description="column"),
        )


@torch.no_grad()
def _moment(encoder: TappedEncoder, normalised: Tensor) -> tuple[list[float], tuple[np.ndarray, ...]]:
    """Of each tap the mean cosine between two patches, and (h, w, h, w), the cosines of the first image's patches."""
    with evaluating(encoder):
        taps = encoder(normalised).taps
    maps = []
    for tap in taps:
        unit = F.normalize(tap[0].float(), dim=0)  # (C, h, w)
        maps.append(torch.einsum("chw,cij->hwij", unit, unit).numpy())
    return [float(patch_cosine(tap).nanmean()) for tap in taps], tuple(maps)
