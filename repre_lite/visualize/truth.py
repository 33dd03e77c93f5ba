"""Attention and reconstruction measured against the object, on scenes, where its pixels are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.scenes import Scenes
from ..decoder import ReconstructionDecoder
from ..encoder import TappedEncoder
from .attention import enlarge
from .kit.capture import BlockAttention, capture, heaviest
from .kit.panel import strip


@dataclass(frozen=True)
class Truth:
    """For B scenes: `pictures` (B, H, W, 3), `masks` of the object and `kept`, what holds `mass` of the attention, bool
    (B, H, W). `iou` of the two, `share` of the attention on the object, `area` of the object: (B,) in [0, 1]. `inside`
    and `outside` (B,): mean absolute reconstruction error on and off the object, None without a decoder."""

    pictures: np.ndarray
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
    ) -> Truth:
        """One forward for each scene: the attention of the last block, mean over heads (see `looked_at`), and the error
        of the picture itself redrawn, without augmentation."""
        views, masks = scenes.images.float() / 255, scenes.masks.numpy()
        kept, share, inside, outside = [], [], [], []
        for view, mask in zip(views, masks, strict=True):
            blocks, (_, taps) = capture(encoder.backbone, normalise(view[None])[0], encoder.tap_indices)
            seen = looked_at(blocks[-1])
            kept.append(enlarge(heaviest(seen, mass), *mask.shape))
            share.append(on_object(seen, mask))
            if decoder is not None:
                error = (decoder.eval()(taps)[0] - view).abs().mean(0).numpy()  # (H, W)
                inside.append(error[mask].mean())
                outside.append(error[~mask].mean())
        regions = (np.array(inside), np.array(outside)) if decoder is not None else (None, None)
        return cls(views.permute(0, 2, 3, 1).numpy(), masks, np.stack(kept), mass, np.array(share), *regions)

    @property
    def iou(self) -> np.ndarray:
        return (self.masks & self.kept).sum((1, 2)) / (self.masks | self.kept).sum((1, 2))

    @property
    def area(self) -> np.ndarray:
        """The object's share of the picture: what uniform attention puts on it."""
        return self.masks.mean((1, 2))

    def describe(self, picture: int | None = None) -> str:
        """All scenes, or one of them, in one sentence."""
        one = slice(None) if picture is None else slice(picture, picture + 1)
        who = f"On {len(self.masks)} scenes" if picture is None else f"On scene {picture}"
        text = (
            f"{who} the object fills {self.area[one].mean():.0%} of the picture and gets {self.share[one].mean():.0%} "
            f"of the attention; the patches with {self.mass:.0%} of it overlap the object with an IoU of "
            f"{self.iou[one].mean():.2f}"
        )
        if self.inside is not None and self.outside is not None:
            text += (
                f"; the reconstruction error is {self.inside[one].mean():.3f} on the object and "
                f"{self.outside[one].mean():.3f} off it"
            )
        return text + "."

    def figure(self) -> Any:
        """Scenes with their objects outlined, veiled where attention does not look; the numbers of each below."""
        from matplotlib import pyplot as plt

        count = len(self.masks)
        figure, axes = plt.subplots(1, count, figsize=(1.4 * count + 0.2, 2.1), squeeze=False, layout="compressed")
        for index, axis in enumerate(axes[0]):
            picture, kept = self.pictures[index], self.kept[index][..., None]
            strip(axis, np.where(kept, picture, 0.3 * picture + 0.35), f"IoU {self.iou[index]:.2f}")
            axis.contour(self.masks[index], levels=[0.5], colors="white", linewidths=1.2)
            axis.set_xlabel(f"{self.share[index]:.0%} on it", fontsize=9)
        plt.close(figure)
        return figure


def looked_at(block: BlockAttention) -> np.ndarray:
    """Where a block looks, mean over heads, (h, w): from the class token, or without one (Swin) from all patches."""
    if block.prefix:
        return block.sent(0).mean(0)
    return block.dense().mean((0, 1)).reshape(block.grid)


def on_object(weights: np.ndarray, mask: np.ndarray) -> float:
    """The share in [0, 1] of `weights` (h, w), spread over their patches' pixels, that lies in the `mask` (H, W)."""
    spread = enlarge(weights.astype(np.float64), *mask.shape)
    return float(spread[mask].sum() / spread.sum())
