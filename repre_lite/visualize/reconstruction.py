"""View, reconstruction, error and attention, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.views import Views
from ..runs import Run
from ..runtime.errors import UserError
from .kit import palette
from .kit.attention import round_up
from .kit.capture import capture, middle_half
from .kit.drawing import Figure, absolute_error, show_image
from .kit.extra import extra
from .kit.panel import panel
from .kit.words import percent


@dataclass(frozen=True)
class Reconstructions:
    """`views` and `reconstructions` (B, H, W, 3) in [0, 1], the latter clipped for display; `l1` (B,) of the unclipped
    ones. `attention` (B, h, w): see `BlockAttention.overall`, mean over `blocks`; None for an encoder without attention;
    `class_token`: whether it is that of one."""

    views: np.ndarray
    reconstructions: np.ndarray
    l1: np.ndarray
    attention: np.ndarray | None = None
    blocks: tuple[int, ...] = ()
    class_token: bool = True

    @classmethod
    @torch.no_grad()
    def compute(cls, run: Run, images: Tensor, seed: int = 0, blocks: Sequence[int] | None = None) -> Reconstructions:
        """Augment uint8 `images` (B, 3, H, W) as in training, run encoder and decoder once on each view.

        `blocks`: whose attention; None means `middle_half`. Raises UserError for a run without a decoder.
        """
        make = Views(run.recipe.views[:1], seed)
        view = make(images, 0, torch.arange(len(images)))[0]  # (B, 3, H, W)
        reconstruction = run.reconstruct(view)
        l1 = (reconstruction - view).abs().mean((1, 2, 3))  # (B,)
        made = _show(view), _show(reconstruction.clamp(0, 1)), l1.numpy()
        try:
            captured = [capture(run.encoder.backbone, x)[0] for x in run.model.normalise(view)]
        except UserError:
            return cls(*made)
        chosen = middle_half(captured[0]) if blocks is None else tuple(blocks)
        attention = np.mean([[each[block].overall() for block in chosen] for each in captured], axis=1)  # (B, h, w)
        return cls(*made, attention, chosen, captured[0][0].class_token)

    @property
    def attention_top(self) -> float:
        """Where the colours of attention end, the same for all images: one patch in a hundred lies above, and uniform
        attention in the middle or below."""
        assert self.attention is not None
        return round_up(max(float(np.percentile(self.attention, 99)), 2 / int(self.attention[0].size)))

    @property
    def who(self) -> str:
        """Whose attention is shown, in words."""
        several = len(self.blocks) > 1
        where = f"blocks {self.blocks[0]} to {self.blocks[-1]}" if several else f"block {self.blocks[0]}"
        return f"class token in {where}" if self.class_token else f"mean patch in {where}"

    def figure(self, image: int | None = None) -> Figure:
        """Rows of views, reconstructions, absolute errors (fixed range) and attention; or one image enlarged."""
        chosen = range(len(self.views)) if image is None else [image]
        rows = 3 + (self.attention is not None)
        if image is None:
            figure = Figure(1.1 * len(chosen) + 1.2, 1.12 * rows + 0.3)
            axes = figure.subplots(rows, len(chosen), squeeze=False)
        else:
            figure = Figure(2.4 * rows, 2.5)
            axes = figure.subplots(1, rows, squeeze=False).T
        names = ["view", "reconstruction", "error", "attention"]
        error = absolute_error(self.reconstructions, self.views)
        for column, index in enumerate(chosen):
            show_image(axes[0][column], self.views[index])
            show_image(axes[1][column], self.reconstructions[index])
            shown = show_image(axes[2][column], error[index], **palette.error_map())
            axes[2][column].set_xlabel(f"L1 {self.l1[index]:.3f}", fontsize=9)
            if self.attention is not None:
                colours = palette.attention_map(self.attention_top)
                looked = show_image(axes[3][column], self.attention[index], **colours)
        bar: dict[str, Any] = {"fraction": 0.03, "pad": 0.01}
        figure.colorbar(shown, ax=axes[2], label="|error|" if image is None else "", **bar)
        if self.attention is not None:
            figure.colorbar(looked, ax=axes[3], label="share" if image is None else "", extend="max", **bar)
        for row, name in zip(axes, names, strict=False):
            if image is None:
                row[0].set_ylabel(name, fontsize=10)
            else:
                row[0].set_title(self.who if name == "attention" else name, fontsize=9)
        return figure

    def describe(self, image: int | None = None) -> str:
        """The figure in one sentence."""
        if image is not None:
            text = f"Image {image}: a view, its reconstruction, and the error, {self.l1[image]:.3f} on average"
            if self.attention is None:
                return f"{text}."
            row, column = np.unravel_index(self.attention[image].argmax(), self.attention[image].shape)
            share = self.attention[image].max()
            return f"{text}; the {self.who} looks most at row {row}, column {column} ({percent(share)}%)."
        attention = "" if self.attention is None else f"; attention is that of the {self.who}"
        return (
            f"{len(self.views)} augmented views, each reconstructed by the decoder from the encoder's taps; the mean "
            f"absolute error of an image is {self.l1.min():.3f} to {self.l1.max():.3f} on a scale from 0 to 1{attention}."
        )

    def widget(self) -> Any:
        """A slider over images, enlarged."""
        return panel(self, image=extra("ipywidgets").IntSlider(0, 0, len(self.views) - 1, description="image"))


def _show(x: Tensor) -> np.ndarray:
    """(B, 3, H, W) -> (B, H, W, 3) for matplotlib."""
    return x.detach().permute(0, 2, 3, 1).cpu().numpy()
