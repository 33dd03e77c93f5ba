"""Two views of one image: where they were cropped, what they share, and the pixels the decoder has to reconstruct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.views import Views
from ..runtime.errors import UserError
from .kit import palette
from .kit.correspondence import corresponding, patches_at
from .kit.drawing import Figure, outline, show_image
from .kit.extra import extra
from .kit.panel import panel


@dataclass(frozen=True)
class ViewPair:
    """`image` (H, W, 3) and its two `views` (S, S, 3), all in [0, 1], before normalisation: the first view, with its
    colours, is the target of equation 3. `boxes` int (2, 4): top, left, height, width of the crops in pixels of the image;
    `flips` bool (2,): mirrored left to right; `grid`: patches on a side of a view.

    A match is a patch of view 1 whose centre view 2 shows; `matches` int (M, 4): its row and column in view 1, and those of
    the patch of view 2 that contains the centre.
    """

    image: np.ndarray
    views: tuple[np.ndarray, np.ndarray]
    boxes: np.ndarray
    flips: np.ndarray
    grid: int

    @classmethod
    def compute(cls, views: Views, image: Tensor, grid: int, step: int = 0, row: int = 0) -> ViewPair:
        """The first two of `views` of `image`, uint8 (3, H, W), as `row` of the batch of `step` gets them; `grid` is an
        encoder's `tap_grids[0]`. Raises UserError if there is only one view."""
        if len(views.views) < 2:
            raise UserError("only one view of each image: a pair needs a framework with two views")
        batch = image[None]  # (1, 3, H, W)
        parameters = views.parameters(step, torch.tensor([row]), *image.shape[1:])[:2]
        one, two = (views.make(i, batch, each)[0].permute(1, 2, 0).numpy() for i, each in enumerate(parameters))
        boxes = torch.cat([each.boxes for each in parameters]).numpy()
        flips = torch.cat([each.flips for each in parameters]).numpy()
        return cls(image.permute(1, 2, 0).numpy() / 255, (one, two), boxes, flips, grid)

    @property
    def overlap(self) -> tuple[int, int, int, int]:
        """Top, left, height, width in pixels of what both views show; height or width is 0 if they share nothing."""
        start = self.boxes[:, :2].max(0)
        size = ((self.boxes[:, :2] + self.boxes[:, 2:]).min(0) - start).clip(0)
        return (*start.tolist(), *size.tolist())

    @property
    def matches(self) -> np.ndarray:
        """Row and column in view 1 and in view 2 of each match, int (M, 4)."""
        there = patches_at(self._rectangles(), (self.grid, self.grid))  # (grid, grid, 2)
        here = np.argwhere(there[..., 0] >= 0)  # (M, 2)
        return np.concatenate([here, there[here[:, 0], here[:, 1]]], axis=1)

    def figure(self, match: int | None = None) -> Figure:
        """The image with both crops, what they share hatched, then both views with one match; None: one in the middle."""
        figure = Figure(8.2, 3.1)
        axes = figure.subplots(1, 3)
        show_image(axes[0], self.image, "image; hatched: in both views")
        top, left, height, width = self.overlap
        shared = {"facecolor": "white", "edgecolor": "black", "alpha": 0.25, "hatch": "//"}
        corner = (left - 0.5, top - 0.5)  # the first pixel's centre is at 0
        axes[0].add_patch(extra("matplotlib.patches").Rectangle(corner, width, height, **shared))
        for i, (box, style) in enumerate(zip(self.boxes, palette.VIEWS, strict=True)):
            outline(axes[0], box, style.colour, "white", style.line)
            for place in np.arange(1, self.grid) * self.views[i].shape[0] / self.grid - 0.5:  # between patches
                axes[i + 1].axhline(place, color="white", linewidth=0.5, alpha=0.5)
                axes[i + 1].axvline(place, color="white", linewidth=0.5, alpha=0.5)
            show_image(axes[i + 1], self.views[i], f"view {i + 1}{' = target' if i == 0 else ''}{self._mirrored(i)}")
            for side in axes[i + 1].spines.values():
                side.set(color=style.colour, linewidth=2.5, linestyle=style.line)
        axes[1].set_xlabel(f"pixels {self.views[0].min():.2f} to {self.views[0].max():.2f}, not normalised", fontsize=9)
        if len(self.matches):
            row, column, other_row, other_column = self.matches[self._match(match)]
            patch = self.views[0].shape[0] / self.grid
            outline(axes[1], (row * patch, column * patch, patch, patch), "black", "white")
            patch = self.views[1].shape[0] / self.grid
            outline(axes[2], (other_row * patch, other_column * patch, patch, patch), "black", "white", ":")
            outline(axes[2], self._rectangles()[row, column] * self.views[1].shape[0], "black", "white")
            axes[2].set_xlabel("solid: same place; dotted: its patch", fontsize=9)
            outline(axes[0], self._on_image(row, column), "black", "white")
        return figure

    def describe(self, match: int | None = None) -> str:
        """Both crops, their overlap and one match, in one sentence."""
        area = self.image.shape[0] * self.image.shape[1]
        shares = [float(box[2] * box[3]) / area for box in self.boxes]
        both = self.overlap[2] * self.overlap[3] / area
        sentence = (
            f"View 1, the target, shows {shares[0]:.0%} of the image{self._mirrored(0)}, view 2 {shares[1]:.0%}"
            f"{self._mirrored(1)}, both {both:.0%}"
        )
        if not len(self.matches):
            return f"{sentence}; no patch of view 1 has its centre in view 2."
        chosen = self._match(match)
        row, column, other_row, other_column = self.matches[chosen].tolist()
        return (
            f"{sentence}; match {chosen + 1} of {len(self.matches)}: row {row}, column {column} of view 1 is row "
            f"{other_row}, column {other_column} of view 2."
        )

    def widget(self) -> Any:
        """A slider over the matches."""
        start, last = (self._match(None), len(self.matches) - 1) if len(self.matches) else (0, 0)
        slider = extra("ipywidgets").IntSlider(start, 0, last, description="match", continuous_update=False)
        return panel(self, match=slider)

    def _match(self, match: int | None) -> int:
        if match is not None:
            return match
        places = self.matches[:, :2]
        return int(np.abs(places - places.mean(0)).sum(1).argmin())

    def _mirrored(self, view: int) -> str:
        return ", mirrored" if self.flips[view] else ""

    def _rectangles(self) -> np.ndarray:
        """Where each patch of view 1 lies in view 2, (grid, grid, 4) in shares of it."""
        (one, two), (flip, other_flip) = self.boxes.tolist(), self.flips.tolist()
        return corresponding((self.grid, self.grid), one, flip, two, other_flip)

    def _on_image(self, row: int, column: int) -> np.ndarray:
        """Top, left, height, width of a patch of view 1, in pixels of the image."""
        h, w = self.image.shape[:2]
        whole = corresponding((self.grid, self.grid), self.boxes[0].tolist(), bool(self.flips[0]), (0, 0, h, w), False)
        return np.asarray(whole[row, column] * np.array([h, w, h, w]))
