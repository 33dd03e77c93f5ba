"""How alike the patches of an image are: one patch compared with all others, in several encoders, tap by tap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...encoder import TappedEncoder
from ...runtime.modes import evaluating
from ..kit import palette
from ..kit.drawing import Figure, outline, show_image
from ..kit.extra import extra
from ..kit.panel import panel


@dataclass(frozen=True)
class Alike:
    """`image` (H, W, 3) in [0, 1]; `raw` and `centred`: name of an encoder -> K matrices (N, N) of cosines between the
    patches of that image, shallow to deep; `centred`: after the mean patch of many images is subtracted. `grid`: patches a
    side of the first tap; those of a Swin's deeper taps are larger."""

    image: np.ndarray
    raw: dict[str, tuple[np.ndarray, ...]]
    centred: dict[str, tuple[np.ndarray, ...]]
    grid: int

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        encoders: Mapping[str, TappedEncoder],
        normalise: Callable[[Tensor], Tensor],
        images: Tensor,
        shown: int = 0,
    ) -> Alike:
        """`images` (B, 3, H, W) in [0, 1]: number `shown` is shown, all of them make the mean patch of each tap."""
        raw, centred, grid = {}, {}, 0
        for name, encoder in encoders.items():
            with evaluating(encoder):
                taps = encoder(normalise(images)).taps
            grid = taps[0].shape[-1]
            raw[name] = tuple(cosines(tap[shown]) for tap in taps)
            centred[name] = tuple(cosines((tap - tap.mean((0, 2, 3), keepdim=True))[shown]) for tap in taps)
        return cls(images[shown].permute(1, 2, 0).numpy(), raw, centred, grid)

    def figure(self, row: int = 0, column: int = 0, centred: bool = False) -> Figure:
        """The image with one patch outlined, then its cosine with every patch: a row for each encoder, a column for each
        tap, all on one scale from -1 to 1."""
        held = self.centred if centred else self.raw
        first, taps = next(iter(held)), len(next(iter(held.values())))
        figure = Figure(1.25 * (taps + 1) + 1, 1.25 * len(held) + 0.5)
        axes = figure.subplots(len(held), taps + 1, squeeze=False)
        side = self.image.shape[0] // self.grid
        for line, (name, matrices) in zip(axes, held.items(), strict=True):
            show_image(line[0], self.image)
            outline(line[0], (row * side, column * side, side, side))
            line[0].set_ylabel(name, fontsize=9)
            for index, (axis, matrix) in enumerate(zip(line[1:], matrices, strict=True), 1):
                title = f"tap {index}" if name == first else ""
                top, left, grid = self._place(row, column, matrix)
                values = matrix[top * grid + left].reshape(grid, grid)
                shown = show_image(axis, values, title, **palette.signed_map())
                outline(axis, (top, left, 1, 1))
                axis.set_xlabel(f"{off_diagonal(matrix):.2f}", fontsize=9)
        figure.colorbar(shown, ax=axes, fraction=0.02, label="cosine, mean patch removed" if centred else "cosine")
        return figure

    def describe(self, row: int = 0, column: int = 0, centred: bool = False) -> str:
        """The mean cosine of the chosen patch at the last tap, and of all pairs, in one sentence."""
        held = self.centred if centred else self.raw
        parts = []
        for name, matrices in held.items():
            last = matrices[-1]
            top, left, grid = self._place(row, column, last)
            place = top * grid + left
            own = (last[place].sum() - last[place, place]) / (len(last) - 1)
            parts.append(f"{name} {own:.2f} (all pairs {off_diagonal(last):.2f})")
        how = "after the mean patch is removed" if centred else "as they are"
        return f"Patch row {row}, column {column}, features {how}: mean cosine with the others at the last tap: " + (
            ", ".join(parts) + "."
        )

    def _place(self, row: int, column: int, matrix: np.ndarray) -> tuple[int, int, int]:
        """Row and column of the patch on the grid of a tap, and the patches a side of that."""
        grid = round(len(matrix) ** 0.5)
        return row * grid // self.grid, column * grid // self.grid, grid

    def widget(self) -> Any:
        """Sliders for the patch, and a switch for the mean patch."""
        widgets = extra("ipywidgets")
        return panel(
            self,
            row=widgets.IntSlider(self.grid // 2, 0, self.grid - 1, description="row"),
            column=widgets.IntSlider(self.grid // 2, 0, self.grid - 1, description="column"),
            centred=widgets.ToggleButton(False, description="remove the mean"),
        )


def cosines(tap: Tensor) -> np.ndarray:
    """A map (C, h, w) -> the cosines between its patches, (N, N)."""
    unit = F.normalize(tap.float().flatten(1), dim=0)  # (C, N)
    return np.asarray((unit.T @ unit).cpu())


def off_diagonal(matrix: np.ndarray) -> float:
    """The mean over pairs of different patches of a matrix (N, N)."""
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))
