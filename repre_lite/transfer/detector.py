"""torchvision's Mask R-CNN and Faster R-CNN on an encoder, with draws and losses that do not depend on the processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from ..frameworks.base import no_autocast
from ..runtime import distributed
from ..runtime.device import precise
from ..runtime.randomness import uniform
from .crops import enlarged
from .pyramid import Pyramid

RPN_LOSSES = ("loss_objectness", "loss_rpn_box_reg")
ANCHORS, REGIONS = 201, 202  # purposes of the draws, see `uniform`


class Draw:
    """Which anchors or regions of an image are trained on: up to `share` positives, `count` in all, drawn at random.

    In place of torchvision's sampler, which draws from torch's generator: this one draws from seed, step and row of the
    global batch. `taken` and `positive`: how many it has drawn since `at`.
    """

    def __init__(self, count: int, share: float, seed: int, purpose: int) -> None:
        self.count, self.share, self.seed, self.purpose = count, share, seed, purpose
        self.at(0, torch.zeros(0, dtype=torch.int64))

    def at(self, step: int, rows: Tensor) -> None:
        """Draw for `rows` of the global batch of a step from now on."""
        self.step, self.rows = step, rows
        self.taken = self.positive = 0

    def __call__(self, matched: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """`matched`: for each image, 1 or more for a positive (n,), 0 for a negative, less for neither; two masks each."""
        positives, negatives = [], []
        for row, labels in zip(self.rows.to(matched[0].device), matched, strict=True):
            keys = uniform(self.seed, self.step, row[None], self.purpose, len(labels))[0]  # (n,)
            chosen = _lowest(keys, labels >= 1, int(self.count * self.share))
            others = _lowest(keys, labels == 0, self.count - int(chosen.sum()))
            self.positive += int(chosen.sum())
            self.taken += int(chosen.sum()) + int(others.sum())
            positives.append(chosen.to(torch.uint8))
            negatives.append(others.to(torch.uint8))
        return positives, negatives


def _lowest(keys: Tensor, among: Tensor, count: int) -> Tensor:
    """Which of those `among` have one of the `count` lowest keys, bool (n,)."""
    order = keys.masked_fill(~among, 2.0).argsort(stable=True)[:count]
    chosen = torch.zeros_like(among)
    chosen[order] = True
    return chosen & among


class AsItIs(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's input transform without resizing in training: the batch has been resized where it was made."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """The image, resized in evaluation mode only: as in training, antialiased, which torchvision's own resize is not."""
        size = (image.shape[-2], image.shape[-1])
        smaller = enlarged(size, min(self.min_size[-1] / min(size), self.max_size / max(size)))
        if self.training or smaller == size:
            return image, target
        return F.interpolate(image[None], smaller, mode="bilinear", antialias=True, align_corners=False)[0], target


class Detector(nn.Module):
    """Mask R-CNN on an encoder, or Faster R-CNN without masks; `classes` without the background.

    Anchors and the choice of level follow the strides of the pyramid, so that an encoder of small patches for small images
    is to them what one of patch 16 is to photographs: anchors have 8 cells, as in the published models. `regions`: how
    many for each image the heads are trained on, 512 as published.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        classes: int,
        masks: bool,
        mean: Sequence[float],
        std: Sequence[float],
        short_side: int,
        long_side: int | None,
        regions: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        width, strides = pyramid.out_channels, pyramid.strides
        ratios = ((0.5, 1.0, 2.0),) * len(strides)
        names = [str(i) for i in range(len(strides) - 1)]
        settings: dict[str, Any] = {
            "min_size": short_side,
            "max_size": long_side or 10 * short_side,
            "image_mean": list(mean),
            "image_std": list(std),
            "size_divisible": pyramid.backbone.multiple,
            "rpn_anchor_generator": AnchorGenerator(tuple((8 * stride,) for stride in strides), ratios),
            "rpn_pre_nms_top_n_train": 4 * regions,
            "rpn_post_nms_top_n_train": 4 * regions,
            "rpn_pre_nms_top_n_test": 2 * regions,
            "rpn_post_nms_top_n_test": 2 * regions,
            "box_roi_pool": _pool(names, strides[0], 7),
            "box_head": TwoMLPHead(width * 7**2, 4 * width),
            "box_predictor": FastRCNNPredictor(4 * width, classes + 1),
        }
        if masks:
            settings |= {
                "mask_roi_pool": _pool(names, strides[0], 14),
                "mask_head": MaskRCNNHeads(width, (width,) * 4, 1),
                "mask_predictor": MaskRCNNPredictor(width, width, classes + 1),
            }
        self.pyramid = pyramid
        self.model = (MaskRCNN if masks else FasterRCNN)(pyramid, **settings)
        held = self.model.transform
        self.model.transform = AsItIs(
            held.min_size, held.max_size, held.image_mean, held.image_std, held.size_divisible
        )
        self.anchors = Draw(max(1, regions // 2), 0.5, seed, ANCHORS)
        self.regions = Draw(regions, 0.25, seed, REGIONS)
        self.model.rpn.fg_bg_sampler, self.model.roi_heads.fg_bg_sampler = self.anchors, self.regions

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]], step: int, rows: Tensor
    ) -> dict[str, Tensor]:
        """Losses of images (3, H, W) in [0, 1] with `targets` as torchvision has them, `rows` of the batch of `step`.

        torchvision takes means over what it has drawn on this process; each is weighted by its share of what all have
        drawn, so that the mean over processes is that of the whole batch.
        """
        self.anchors.at(step, rows)
        self.regions.at(step, rows)
        losses: dict[str, Tensor] = self._run(images, targets)
        counts = torch.tensor(
            [self.anchors.taken, self.regions.taken, self.regions.positive],
            device=images[0].device,
        )
        anchors, regions, positive = (counts / distributed.all_mean(precise(counts)).clamp(min=1)).tolist()
        shares = {"loss_mask": positive} | dict.fromkeys(RPN_LOSSES, anchors)
        return {name: loss * shares.get(name, regions) for name, loss in losses.items()}

    def detect(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """torchvision's results for images (3, H, W) in [0, 1]: boxes, labels from 1, scores, masks (n, 1, H, W)."""
        found: list[dict[str, Tensor]] = self._run(images)
        return found

    def _run(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """torchvision's model, with autocast for the pyramid alone: in half precision boxes would be rounded to several
        pixels, and duplicates would survive."""
        kind = images[0].device.type
        self.pyramid.compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        with no_autocast(images[0]):
            return self.model(images, targets)


def _pool(names: Sequence[str], finest: int, side: int) -> MultiScaleRoIAlign:
    """Pooling from the level that suits a region's size: with stride 4 the published one, a level 4 of 224 pixels."""
    level = round(math.log2(finest)) + 2
    return MultiScaleRoIAlign(list(names), side, 2, canonical_scale=56 * finest, canonical_level=level)
