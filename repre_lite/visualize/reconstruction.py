"""View, reconstruction and error side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.views import Views
from ..runs import Run
from .kit.panel import panel, strip

ERROR_RANGE = 0.5  # the error map is black at 0 and brightest here, in every figure


@dataclass(frozen=True)
class Reconstructions:
    """`views` and `pictures` (B, H, W, 3) in [0, 1], the latter clipped for display; `l1` (B,) of the unclipped ones."""

    views: np.ndarray
    pictures: np.ndarray
    l1: np.ndarray

    @classmethod
    def compute(cls, run: Run, images: Tensor, seed: int = 0) -> Reconstructions:
        """Augment uint8 `images` (B, 3, H, W) as in training, run encoder and decoder once."""
        view = Views(run.recipe.views[:1], seed)(images, 0, torch.arange(len(images)))[0]
        picture = run.reconstruct(view)
        l1 = (picture - view).abs().mean((1, 2, 3))
        return cls(_show(view), _show(picture.clamp(0, 1)), l1.numpy())

    def figure(self) -> Any:
        """Three rows: the augmented view, its reconstruction, the absolute error (fixed range)."""
        from matplotlib import pyplot as plt

        count = len(self.views)
        figure, axes = plt.subplots(3, count, figsize=(1.1 * count + 0.9, 3.7), squeeze=False, layout="compressed")
        error = np.abs(self.pictures - self.views).mean(-1)
        for column in range(count):
            axes[0][column].imshow(self.views[column])
            axes[1][column].imshow(self.pictures[column])
            shown = axes[2][column].imshow(error[column], cmap="cividis", vmin=0, vmax=ERROR_RANGE)
            axes[2][column].set_xlabel(f"{self.l1[column]:.3f}", fontsize=9)
        for row, name in enumerate(("view", "redrawn", "error (L1)")):
            axes[row][0].set_ylabel(name, fontsize=10)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
        figure.colorbar(shown, ax=axes[2], fraction=0.02, label="|error|")
        plt.close(figure)
        return figure

    def describe(self, picture: int | None = None) -> str:
        """The figure, or one picture of it, in one sentence."""
        if picture is not None:
            return (
                f"Picture {picture}: its view, the decoder's drawing, and the error, {self.l1[picture]:.3f} on average."
            )
        return (
            f"{len(self.views)} augmented views, each redrawn by the decoder from the encoder's taps; the mean absolute "
            f"error of a picture is {self.l1.min():.3f} to {self.l1.max():.3f} on a scale from 0 to 1."
        )

    def widget(self) -> Any:
        """A slider over pictures, enlarged."""
        import ipywidgets as widgets

        def draw(picture: int) -> tuple[Any, str]:
            from matplotlib import pyplot as plt

            view, drawn = self.views[picture], self.pictures[picture]
            figure, axes = plt.subplots(1, 3, figsize=(7, 2.5), layout="compressed")
            strip(axes[0], view, "view")
            strip(axes[1], drawn, "redrawn")
            error = strip(axes[2], np.abs(drawn - view).mean(-1), "error", cmap="cividis", vmin=0, vmax=ERROR_RANGE)
            figure.colorbar(error, ax=axes[2], fraction=0.05)
            return figure, self.describe(picture)

        return panel(draw, picture=widgets.IntSlider(0, 0, len(self.views) - 1, description="picture"))


def _show(x: Tensor) -> np.ndarray:
    """(B, 3, H, W) -> (B, H, W, 3) for matplotlib."""
    return x.detach().permute(0, 2, 3, 1).cpu().numpy()
