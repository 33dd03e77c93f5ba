"""Two views of one picture: where they were cut, what they share, and the pixels the decoder has to redraw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.views import Views
from ..runtime.errors import UserError
from .kit.correspondence import corresponding, patches_at
from .kit.panel import panel, strip

COLOURS = ("#0072B2", "#D55E00")  # of view 1 and view 2
LINES = ("-", "--")


@dataclass(frozen=True)
class ViewPair:
    """`picture` (H, W, 3) and its two `views` (S, S, 3), all in [0, 1], before normalisation: the first view is the target
    of equation 3, colours and all. `boxes` int (2, 4): top, left, height, width of the crops in pixels of the picture;
    `flips` bool (2,): mirrored left to right; `grid`: patches on a side of a view.

    A match is a patch of view 1 the middle of which view 2 shows; `matches` int (M, 4): its row and column in view 1, and
    those of the patch of view 2 on which that middle falls.
    """

    picture: np.ndarray
    views: tuple[np.ndarray, np.ndarray]
    boxes: np.ndarray
    flips: np.ndarray
    grid: int

    @classmethod
    def compute(cls, views: Views, picture: Tensor, grid: int, step: int = 0, row: int = 0) -> ViewPair:
        """The first two of `views` of `picture`, uint8 (3, H, W), as `row` of the batch of `step` gets them; `grid` is an
        encoder's `tap_grids[0]`. Raises UserError where there is only one view."""
        if len(views.views) < 2:
            raise UserError("these views are one for each picture: a pair needs a framework with two")
        batch = picture[None]  # (1, 3, H, W)
        drawn = views.parameters(step, torch.tensor([row]), *picture.shape[1:])[:2]
        one, two = (views.make(i, batch, each)[0].permute(1, 2, 0).numpy() for i, each in enumerate(drawn))
        boxes = torch.cat([each.boxes for each in drawn]).numpy()
        flips = torch.cat([each.flips for each in drawn]).numpy()
        return cls(picture.permute(1, 2, 0).numpy() / 255, (one, two), boxes, flips, grid)

    @property
    def overlap(self) -> tuple[int, int, int, int]:
        """Top, left, height, width in pixels of what both views show; height or width is 0 where they share nothing."""
        start = self.boxes[:, :2].max(0)
        size = ((self.boxes[:, :2] + self.boxes[:, 2:]).min(0) - start).clip(0)
        return (*start.tolist(), *size.tolist())

    @property
    def matches(self) -> np.ndarray:
        there = patches_at(self._rectangles(), (self.grid, self.grid))  # (grid, grid, 2)
        here = np.argwhere(there[..., 0] >= 0)  # (M, 2)
        return np.concatenate([here, there[here[:, 0], here[:, 1]]], axis=1)

    def figure(self, match: int | None = None) -> Any:
        """The picture with both crops, what they share hatched, then both views with one match; None: one in the middle."""
        from matplotlib import pyplot as plt
        from matplotlib.patches import Rectangle

        def outline(axis: Any, box: Any, colour: str, line: str = "-", **options: Any) -> None:
            top, left, height, width = box
            # pixel 0 reaches from -0.5 to 0.5
            corner = (left - 0.5, top - 0.5)
            for edge, thickness in (("white", 3.2), (colour, 1.8)):
                axis.add_patch(Rectangle(corner, width, height, fill=False, ec=edge, lw=thickness, ls=line, **options))

        figure, axes = plt.subplots(1, 3, figsize=(8.2, 3.1), layout="compressed")
        strip(axes[0], self.picture, "picture; hatched: in both views")
        top, left, height, width = self.overlap
        axes[0].add_patch(
            Rectangle((left - 0.5, top - 0.5), width, height, fill=True, fc="white", ec="black", alpha=0.25, hatch="//")
        )
        for i, box in enumerate(self.boxes):
            outline(axes[0], box, COLOURS[i], LINES[i])
            strip(axes[i + 1], self.views[i], f"view {i + 1}{' = target' if i == 0 else ''}{self._mirrored(i)}")
            for side in axes[i + 1].spines.values():
                side.set(color=COLOURS[i], linewidth=2.5, linestyle=LINES[i])
        axes[1].set_xlabel(f"pixels {self.views[0].min():.2f} to {self.views[0].max():.2f}, not normalised", fontsize=9)
        if len(self.matches):
            chosen = self._match(match)
            row, column, other_row, other_column = self.matches[chosen]
            patch = self.views[0].shape[0] / self.grid
            outline(axes[1], (row * patch, column * patch, patch, patch), "black")
            patch = self.views[1].shape[0] / self.grid
            outline(axes[2], (other_row * patch, other_column * patch, patch, patch), "black", ":")
            rectangle = self._rectangles()[row, column] * self.views[1].shape[0]
            outline(axes[2], rectangle, "black", clip_on=True)
            axes[2].set_xlabel("solid: same place; dotted: its patch", fontsize=9)
            outline(axes[0], self._on_picture(row, column), "black")
        plt.close(figure)
        return figure

    def describe(self, match: int | None = None) -> str:
        """Both crops, their overlap and one match, in one sentence."""
        area = self.picture.shape[0] * self.picture.shape[1]
        shares = [float(box[2] * box[3]) / area for box in self.boxes]
        both = self.overlap[2] * self.overlap[3] / area
        sentence = (
            f"View 1, the target, shows {shares[0]:.0%} of the picture{self._mirrored(0)}, view 2 {shares[1]:.0%}"
            f"{self._mirrored(1)}, both {both:.0%}"
        )
        if not len(self.matches):
            return f"{sentence}; no patch of view 1 has its middle in view 2."
        chosen = self._match(match)
        row, column, other_row, other_column = (self.matches[chosen] + 1).tolist()
        return (
            f"{sentence}; match {chosen + 1} of {len(self.matches)}: row {row}, column {column} of view 1 is row "
            f"{other_row}, column {other_column} of view 2."
        )

    def widget(self) -> Any:
        """A slider over the matches."""
        import ipywidgets as widgets

        start, last = (self._match(None), len(self.matches) - 1) if len(self.matches) else (0, 0)
        slider = widgets.IntSlider(start, 0, last, description="match", continuous_update=False)
        return panel(lambda match: (self.figure(match), self.describe(match)), match=slider)

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

    def _on_picture(self, row: int, column: int) -> np.ndarray:
        """Top, left, height, width of a patch of view 1, in pixels of the picture."""
        h, w = self.picture.shape[:2]
        whole = corresponding((self.grid, self.grid), self.boxes[0].tolist(), bool(self.flips[0]), (0, 0, h, w), False)
        return whole[row, column] * np.array([h, w, h, w])
