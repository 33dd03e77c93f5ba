"""What each block holds: its patch features reduced to three colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..backbone import is_hierarchical, unwrap
from ..encoder import TappedEncoder, encode
from ..runtime.errors import UserError
from ..runtime.modes import evaluating
from .kit.drawing import Figure, show_image
from .kit.extra import extra
from .kit.panel import panel
from .kit.readout import Readout


@dataclass(frozen=True)
class Levels:
    """`image` (H, W, 3) in [0, 1]; `maps`, one for each block or stage, (h, w, 3) in [0, 1]: the first three principal
    components of its patch features as red, green and blue; `pixels`, how much of the pixels (R squared, in [0, 1]) a
    linear readout of each block's patches explains; `tapped`, the blocks RePre taps; `shared`: one basis for all blocks; `level`: what blocks are called,
    "stage" in a Swin."""

    image: np.ndarray
    maps: tuple[np.ndarray, ...]
    pixels: tuple[float, ...]
    tapped: tuple[int, ...]
    shared: bool = False
    level: str = "block"

    @classmethod
    @torch.no_grad()
    def compute(cls, encoder: TappedEncoder, images: Tensor, normalised: Tensor, shared: bool = False) -> Levels:
        """One forward over `normalised` (B, 3, H, W); `images` (B, 3, H, W) in [0, 1] are the same. The first is shown.

        The linear readout is fitted on half of the images and scored on the other half, so give a few dozen. `shared`:
        the blocks of a ViT write into one residual stream, so one basis can serve all, and equal colours then mean equal
        directions. Raises UserError for that on a Swin, whose stages differ in width.
        """
        if shared and is_hierarchical(encoder.backbone):
            raise UserError("shared=True: the stages of a Swin differ in width and have no common basis; leave it out")
        depth = len(unwrap(encoder.backbone).feature_info)  # type: ignore[arg-type]
        with evaluating(encoder):
            taps = encode(encoder.backbone, normalised, tuple(range(depth))).taps
        taps, images = tuple(tap.float().cpu() for tap in taps), images.float().cpu()
        first = [tap[0] for tap in taps]
        maps = shared_colours(first) if shared else tuple(colours(tap) for tap in first)
        scores = tuple(_explained(tap, images) for tap in taps)
        level = "stage" if is_hierarchical(encoder.backbone) else "block"
        return cls(images[0].permute(1, 2, 0).numpy(), maps, scores, encoder.tap_indices, shared, level)

    def figure(self, block: int | None = None) -> Figure:
        """The image, then every block's map, with the share of pixels below; or one block's map enlarged."""
        chosen = range(len(self.maps)) if block is None else [block]
        columns = len(chosen) + 1
        figure = Figure(1.15 * columns, 1.7) if block is None else Figure(4.4, 2.4)
        axes = figure.subplots(1, columns)
        show_image(axes[0], self.image, "image")
        for axis, index in zip(axes[1:], chosen, strict=True):
            mark = " (tap)" if index in self.tapped else ""
            show_image(axis, self.maps[index], f"{self.level} {index}{mark}")
            axis.set_xlabel(f"{self.pixels[index]:.2f}", fontsize=9)
        return figure

    def describe(self, block: int | None = None) -> str:
        """The figure in one sentence."""
        if block is None:
            first, last = self.pixels[0], self.pixels[-1]
            basis = " in one basis" if self.shared else ""
            return (
                f"Patch features of {len(self.maps)} {self.level}s as colours{basis}; a linear readout of {self.level} 0 explains {first:.0%} "
                f"of the pixels, one of the last {self.level} {last:.0%}."
            )
        tapped = "tapped by RePre" if block in self.tapped else "not tapped"
        return f"{self.level.capitalize()} {block}, {tapped}: a linear readout of its patches explains {self.pixels[block]:.0%} of the pixels."

    def widget(self) -> Any:
        """A slider over blocks."""
        return panel(self, block=extra("ipywidgets").IntSlider(0, 0, len(self.maps) - 1, description=self.level))


def colours(tap: Tensor) -> np.ndarray:
    """(C, h, w) -> (h, w, 3): principal components scaled to [0, 1]."""
    tokens = tap.flatten(1).T  # (h*w, C)
    tokens = tokens - tokens.mean(0)
    scores = tokens @ torch.linalg.svd(tokens, full_matrices=False)[2][:3].T  # (h*w, 3)
    low, high = scores.min(0).values, scores.max(0).values
    return np.asarray(((scores - low) / (high - low).clamp(min=1e-6)).unflatten(0, tap.shape[1:]))


def shared_colours(taps: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    """Maps (C, h, w) of equal width -> (h, w, 3) each, in [0, 1], with one basis and range for all. Deep blocks have
    larger features, so each map is centred and scaled to the same spread first."""
    tokens = [tap.flatten(1).T - tap.mean((1, 2)) for tap in taps]  # (h*w, C) each
    tokens = [each / each.square().mean().sqrt().clamp(min=1e-6) for each in tokens]
    basis = torch.linalg.svd(torch.cat(tokens), full_matrices=False)[2][:3].T  # (C, 3)
    scores = torch.stack([each @ basis for each in tokens])  # (blocks, h*w, 3)
    low, high = scores.amin((0, 1)), scores.amax((0, 1))
    scores = (scores - low) / (high - low).clamp(min=1e-6)
    return tuple(each.unflatten(0, tap.shape[1:]).numpy() for each, tap in zip(scores, taps, strict=True))


def _explained(tap: Tensor, images: Tensor) -> float:
    """R squared in [0, 1] of a linear readout of the pixels from each patch, on the half it was not fitted on."""
    half = len(tap) // 2
    read = Readout.fit(tap[:half], images[:half]).reconstruct(tap[half:])  # (B/2, 3, H, W)
    patch = images.shape[-1] // tap.shape[-1]
    patches = F.pixel_unshuffle(images[half:], patch)  # (B/2, 3*P*P, h, w)
    spread = (patches - patches.mean((0, 2, 3), keepdim=True)).square().sum()
    return float((1 - (read - images[half:]).square().sum() / spread).clamp(0, 1))
