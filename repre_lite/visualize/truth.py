"""Attention and reconstruction measured against the object, on scenes, where its pixels are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.scenes import Scenes
from ..decoder import ReconstructionDecoder
from ..encoder import TappedEncoder
from .kit.capture import capture, heaviest
from .kit.drawing import Figure, enlarge, show_image
from .kit.extra import extra
from .kit.panel import panel


@dataclass(frozen=True)
class Truth:
    """For B scenes: `images` (B, H, W, 3), `masks` of the object and `kept`, where `mass` of the attention lies, bool
    (B, H, W). `share` of the attention on the object, (B,) in [0, 1]. `inside` and `outside` (B,): mean absolute
    reconstruction error on and off the object, None without a decoder."""

    images: np.ndarray
    masks: np.ndarray
    kept: np.ndarray
    mass: float
    share: np.ndarray
    inside: np.ndarray | None = None
    outside: np.ndarray | None = None

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        encoder: TappedEncoder,
        normalise: Callable[[Tensor], Tensor],
        scenes: Scenes,
        decoder: ReconstructionDecoder | None = None,
        mass: float = 0.6,
        blocks: Sequence[int] = (-1,),
    ) -> Truth:
        """One forward for each scene: the attention of `blocks`, see `BlockAttention.overall`, averaged, and the error
        of the reconstruction of the scene itself, without augmentation."""
        weight = next(encoder.parameters())
        images, masks = scenes.images.float() / 255, scenes.masks.numpy()
        kept, share, inside, outside = [], [], [], []
        for image, mask in zip(images.to(weight), masks, strict=True):
            captured, (_, taps) = capture(encoder.backbone, normalise(image[None])[0], encoder.tap_indices)
            attention = np.mean([captured[block].overall() for block in blocks], axis=0)  # (h, w)
            kept.append(enlarge(heaviest(attention, mass), *mask.shape))
            share.append(on_object(attention, mask))
            if decoder is not None:
                error = (decoder.eval()(taps)[0] - image).abs().mean(0).float().cpu().numpy()  # (H, W)
                inside.append(error[mask].mean())
                outside.append(error[~mask].mean())
        regions = (np.array(inside), np.array(outside)) if decoder is not None else (None, None)
        return cls(images.permute(0, 2, 3, 1).numpy(), masks, np.stack(kept), mass, np.array(share), *regions)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of object and kept attention, (B,) in [0, 1]."""
        intersection, union = (self.masks & self.kept).sum((1, 2)), (self.masks | self.kept).sum((1, 2))
        return np.asarray(intersection / union)

    @property
    def area(self) -> np.ndarray:
        """The object's share of the image, (B,): the share that uniform attention puts on it."""
        return np.asarray(self.masks.mean((1, 2)))

    def describe(self, image: int | None = None) -> str:
        """All scenes, or one of them, in one sentence."""
        one = slice(None) if image is None else slice(image, image + 1)
        who = f"On {len(self.masks)} scenes" if image is None else f"On scene {image}"
        text = (
            f"{who} the object fills {self.area[one].mean():.0%} of the image and gets {self.share[one].mean():.0%} "
            f"of the attention; the patches with {self.mass:.0%} of it overlap the object with an IoU of "
            f"{self.iou[one].mean():.2f}"
        )
        if self.inside is not None and self.outside is not None:
            text += (
                f"; the reconstruction error is {self.inside[one].mean():.3f} on the object and "
                f"{self.outside[one].mean():.3f} off it"
            )
        return text + "."

    def figure(self, image: int | None = None) -> Figure:
        """Scenes, or one of them, with their objects outlined, veiled where the attention is low; numbers below."""
        chosen = range(len(self.masks)) if image is None else [image]
        figure = Figure(1.4 * len(chosen) + 0.2, 2.1) if image is None else Figure(3, 3.3)
        axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        for axis, index in zip(axes, chosen, strict=True):
            shown, kept = self.images[index], self.kept[index][..., None]
            show_image(axis, np.where(kept, shown, 0.3 * shown + 0.35), f"IoU {self.iou[index]:.2f}")
            if self.masks[index].any() and not self.masks[index].all():
                axis.contour(self.masks[index], levels=[0.5], colors="white", linewidths=1.2)
            axis.set_xlabel(f"{self.share[index]:.0%} on it", fontsize=9)
        return figure

    def widget(self) -> Any:
        """A slider over the scenes, enlarged."""
        return panel(self, image=extra("ipywidgets").IntSlider(0, 0, len(self.masks) - 1, description="scene"))


def on_object(weights: np.ndarray, mask: np.ndarray) -> float:
    """The share in [0, 1] of `weights` (h, w), spread over their patches' pixels, that lies in the `mask` (H, W)."""
    spread = enlarge(weights.astype(np.float64), *mask.shape)
    return float(spread[mask].sum() / spread.sum())
