"""Semantic segmentation on an encoder: SETR for a ViT (section 4.2; Zheng et al., 2021), UPerNet for a Swin."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.loaders import Batches
from ..data.masks import IGNORE, MaskSet, MaskSource, load_masks
from ..encoder import TappedEncoder
from ..evaluation.segmentation_metrics import SegmentationScore
from ..runtime import distributed
from ..runtime.device import Precision, precise
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from .backbone import DenseBackbone
from .crops import Crops, enlarged
from .heads import MLA, PUP, Naive, UPerNet, resize
from .settings import TransferRecipe

AT_ONCE = 2**20  # pixels of images that are segmented in one batch
OVERLAP = 2 / 3  # of a window: the step between two, 512 for 768 pixels as in SETR


class Segmenter(nn.Module):
    """An encoder with a segmentation head and auxiliary heads.

    `head`: "naive", "pup", "mla" or "upernet"; `width`: its channels; `auxiliary`: the weight of each auxiliary loss, 0
    for none. Auxiliary heads are of the naive kind, on every tap (SETR-Naive: every tap but the last, which the head reads
    itself; UPerNet: the last tap but one). Raises UserError for a head that does not fit the encoder.
    """

    def __init__(
        self,
        backbone: DenseBackbone,
        classes: int,
        head: str,
        width: int,
        auxiliary: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        if (head == "upernet") != backbone.hierarchical:
            fitting = "upernet" if backbone.hierarchical else "naive, pup or mla"
            raise UserError(f"head={head} does not fit this encoder; choose {fitting}")
        self.backbone, self.classes, self.weight = backbone, classes, auxiliary
        widths, stride, taps = backbone.widths, backbone.strides[0], range(len(backbone.widths))
        helped: Sequence[int] = taps
        if head == "naive":
            self.head: nn.Module = Naive(widths, classes, width)
            helped = taps[:-1]
        elif head == "upernet":
            self.head = UPerNet(widths, classes, width)
            helped = taps[-2:-1]
        else:
            self.head = (PUP if head == "pup" else MLA)(widths, classes, width, stride)
        self.auxiliary = nn.ModuleList(Naive(widths, classes, width, i) for i in helped if auxiliary)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Losses of images uint8 (B, 3, H, W) with masks int64 (B, H, W): mean cross-entropies over the labelled pixels.

        The mean over processes of each is the mean over the labelled pixels of all.
        """
        maps = self.backbone(self.normalise(images))
        size = (masks.shape[-2], masks.shape[-1])
        counted = (masks != IGNORE).sum()
        counted = distributed.all_sum(precise(counted)) / distributed.world_size()
        losses = {"segmentation": self._loss(self.head(maps), masks, counted, size)}
        if len(self.auxiliary):
            helped = [self._loss(head(maps), masks, counted, size) for head in self.auxiliary]
            losses["auxiliary"] = self.weight * torch.stack(helped).sum()
        return losses

    def _loss(self, logits: Tensor, masks: Tensor, counted: Tensor, size: tuple[int, int]) -> Tensor:
        logits = self._to_image(logits.to(self.get_buffer("mean").dtype), size)
        total = F.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum")
        return total / counted.clamp(min=1).to(total.dtype)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> what the encoder reads."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (images.to(mean.dtype) / 255 - mean) / std

    def _to_image(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits of the padded image at any resolution -> those of the image, (B, classes, H, W)."""
        padded = tuple(side + -side % self.backbone.multiple for side in size)
        return resize(logits, (padded[0], padded[1]))[..., : size[0], : size[1]]

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) of any size -> (B, classes, H, W), in one pass."""
        size = (images.shape[-2], images.shape[-1])
        return self._to_image(self.head(self.backbone(images)).to(images.dtype), size)

    def slide(self, images: Tensor, window: int) -> Tensor:
        """`logits` as the mean over windows that overlap by a third; one pass for images up to `window` pixels."""
        height, width = images.shape[-2:]
        if max(height, width) <= window:
            return self.logits(images)
        total = images.new_zeros(len(images), self.classes, height, width)
        times = images.new_zeros(height, width)
        for top in starts(height, window):
            for left in starts(width, window):
                part = (..., slice(top, top + window), slice(left, left + window))
                total[part] += self.logits(images[part])
                times[part] += 1
        return total / times


def starts(length: int, window: int) -> list[int]:
    """Where windows begin that cover `length` pixels; the last one ends at its end."""
    last = max(0, length - window)
    return [*range(0, last, max(1, round(window * OVERLAP))), last]


class Segmentation:
    """The task: its images, model, training batches, and its scores over the whole validation set."""

    kind = "segmentation"

    def __init__(
        self, recipe: TransferRecipe, encoder: TappedEncoder, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.source = _load(recipe, encoder)
        self.recipe = recipe = completed(recipe, encoder, self.source.train)
        self.classes = self.source.train.classes
        self.mean, self.std = tuple(mean), tuple(std)
        assert recipe.head is not None and recipe.head_width is not None
        assert recipe.short_side is not None and recipe.crop is not None
        positions = None if recipe.frozen else recipe.crop
        backbone = DenseBackbone(encoder, recipe.frozen, recipe.drop_path, positions)
        self.model = Segmenter(backbone, len(self.classes), recipe.head, recipe.head_width, recipe.auxiliary, mean, std)
        self.batches = Batches(
            len(self.source.train), recipe.batch_size, recipe.seed, distributed.rank(), distributed.world_size()
        )
        self.dataset = Crops(
            self.source.train, self.batches, recipe.short_side, recipe.crop, recipe.multi_scale, recipe.photometric
        )

    @property
    def count(self) -> int:
        """The number of training images."""
        return len(self.source.train)

    @property
    def fingerprint(self) -> str:
        """Changes if names, sizes or masks of the images do."""
        digest = hashlib.sha256()
        for part in (self.source.train, self.source.val):
            digest.update(repr((part.names, part.sizes, part.classes, part.pixels.tolist())).encode())
        return digest.hexdigest()[:16]

    def to_device(self, batch: tuple[Tensor, Tensor], step: int, device: torch.device) -> tuple[Any, ...]:
        """A training batch as the model takes it."""
        return tuple(x.to(device, non_blocking=True) for x in batch)

    @torch.no_grad()
    def evaluate(self, device: torch.device, precision: Precision, quiet: bool = False) -> dict[str, Any]:
        """`miou`, `macc`, `boundary_iou` over the whole validation set at the masks' own size, and `iou` of each class.

        `miou_majority`: of predicting the most frequent class everywhere. All processes call it and get the same.
        """
        val = self.source.val
        score = SegmentationScore(len(self.classes), device=device)
        mine = range(distributed.rank(), len(val), distributed.world_size())
        with Progress(len(mine), "image", "evaluating", delay=2, leave=False, quiet=quiet) as bar:
            for images, masks in batches_of_one_size(val, mine):
                score.add(masks.to(device), self.predict(images, precision))
                bar.update(len(images))
        score.matrix, score.boundary = distributed.all_sum(score.matrix), distributed.all_sum(score.boundary)
        found = score.results()
        truth = score.matrix.sum(1).cpu().double()  # (classes,)
        majority = float(truth.max() / truth.sum() / (truth > 0).sum())
        values = zip(self.classes, found.pop("iou"), strict=True)  # type: ignore[arg-type]
        named = {name: None if value != value else round(value, 4) for name, value in values}
        return dict(found) | {"miou_majority": majority, "iou": named, "val_images": len(val)}

    @torch.no_grad()
    def predict(self, images: Tensor, precision: Precision | None = None) -> Tensor:
        """Classes of the pixels of uint8 images (B, 3, H, W) of one size: int64 (B, H, W), on the model's device."""
        assert self.recipe.short_side is not None and self.recipe.crop is not None
        size = (images.shape[-2], images.shape[-1])
        smaller = enlarged(size, self.recipe.short_side / min(size))
        if smaller != size:
            # on the CPU: only there can bytes be resized
            images = F.interpolate(images.cpu(), smaller, mode="bilinear", antialias=True, align_corners=False)
        images = images.to(self.model.get_buffer("mean").device)
        with (precision or Precision("fp32")).autocast(images.device):
            logits = self.model.slide(self.model.normalise(images), self.recipe.crop)
        return resize(logits, size).argmax(1)

    @torch.no_grad()
    def draw(self, device: torch.device, folder: Path, most: int = 8) -> None:
        """Write predictions.png into `folder`: validation images, the truth, what is predicted."""
        from .figures import draw_masks

        val = self.source.val
        rows = []
        for i in range(min(most, len(val))):
            image, mask = val[i]
            rows.append((image, mask, self.predict(image[None])[0].cpu()))
        draw_masks(rows, len(self.classes), folder / "predictions.png")


def _load(recipe: TransferRecipe, encoder: TappedEncoder) -> MaskSource:
    if recipe.scale == "cityscapes":
        from .cityscapes import load_cityscapes

        assert recipe.data is not None
        return load_cityscapes(recipe.data, recipe.train_images, recipe.seed)
    return load_masks(recipe.data, encoder.image_size, recipe.train_images, recipe.ignore_label, recipe.seed)


def completed(recipe: TransferRecipe, encoder: TappedEncoder, images: MaskSet) -> TransferRecipe:
    """The recipe with head, width, short side and crop filled in for this encoder and these images.

    Small encoders were trained on small images: a shorter side of three times that size keeps the number of patches of
    a 480x360 image near a thousand, and a crop of twice that size near two hundred.
    """
    own = round(statistics.median(min(size) for size in images.sizes))
    side, hierarchical = encoder.image_size, len(set(encoder.tap_grids)) > 1
    short = recipe.short_side or (min(own, 3 * side))
    multiple = encoder.image_size // encoder.tap_grids[-1]
    crop = recipe.crop or max(multiple, min(2 * side, short) // multiple * multiple)
    return dataclasses.replace(
        recipe,
        head=recipe.head or ("upernet" if hierarchical else "pup"),
        head_width=recipe.head_width or min(256, encoder.width),
        short_side=short,
        crop=crop,
    )


def batches_of_one_size(images: MaskSet, rows: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 (B, 3, H, W) and masks (B, H, W) number `rows`, as many neighbours of one size as fit at once."""
    held: list[tuple[Tensor, Tensor]] = []
    for row in rows:
        image, mask = images[row]
        if held and (held[0][1].shape != mask.shape or (len(held) + 1) * mask.numel() > AT_ONCE):
            yield torch.stack([x for x, _ in held]), torch.stack([y for _, y in held])
            held = []
        held.append((image, mask))
    if held:
        yield torch.stack([x for x, _ in held]), torch.stack([y for _, y in held])
