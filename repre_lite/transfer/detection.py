"""Object detection and instance segmentation on an encoder (section 4.2): Mask R-CNN, or Faster R-CNN without masks."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from ..data.loaders import Batches
from ..encoder import TappedEncoder
from ..runtime import distributed
from ..runtime.device import Precision
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from ..runtime.randomness import fork
from .annotations import load_objects
from .backbone import DenseBackbone
from .crops import enlarged
from .detector import Detector
from .figures import palette, scaled, write_grid
from .mask_codes import encode_mask
from .mean_precision import average_precision, needs_pycocotools
from .objects import ObjectSet, scene_objects
from .pyramid import Pyramid
from .settings import TransferRecipe

SHORTEST = 0.6  # of the short side with multi_scale: 480 of 800 pixels, in steps of a twenty-fifth, as in MoBY
SURE = 0.3  # score from which a detection is drawn


class Detections(Dataset[tuple[list[Tensor], list[dict[str, Tensor]], Tensor]]):
    """Item number `step` is the whole batch of that step: images uint8 (3, H, W), targets, rows of the global batch.

    Images are resized to `short_side` (with `multi_scale`, 0.6 to 1 times that), at most `long_side`, and half of them
    are flipped; all is drawn from seed, step and row.
    """

    def __init__(
        self,
        images: ObjectSet,
        batches: Batches,
        short_side: int,
        long_side: int | None,
        multi_scale: bool,
        masks: bool,
    ) -> None:
        self.images, self.batches, self.masks = images, batches, masks
        self.short_side, self.long_side, self.multi_scale = short_side, long_side, multi_scale

    def __getitem__(self, step: int) -> tuple[list[Tensor], list[dict[str, Tensor]], Tensor]:
        indices, rows = self.batches.rows(step)
        pairs = [self._pair(step, int(row), int(index)) for row, index in zip(rows, indices, strict=True)]
        return [image for image, _ in pairs], [target for _, target in pairs], rows

    def _pair(self, step: int, row: int, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, objects = self.images.image(index), self.images.objects[index]
        kept = ~objects.crowd
        target = {"boxes": objects.boxes[kept], "labels": objects.labels[kept] + 1}  # 0 is the background
        if self.masks:
            target["masks"] = objects.decoded()[kept]
        with fork(self.batches.seed, f"detection/{step}/{row}"):
            ratio = SHORTEST + 0.04 * int(torch.randint(11, ())) if self.multi_scale else 1.0
            image, target = resized(image, target, self.short_side * ratio, self.long_side)
            if torch.rand(()) < 0.5:
                image, target = flipped(image, target)
        return image, target


def resized(
    image: Tensor, target: dict[str, Tensor], short_side: float, long_side: int | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Image uint8 (3, H, W), boxes (n, 4) and masks (n, H, W) resized to a shorter side, at most to a longer one."""
    old = (image.shape[-2], image.shape[-1])
    factor = short_side / min(old)
    if long_side is not None:
        factor = min(factor, long_side / max(old))
    size = enlarged(old, factor)
    if size == old:
        return image, target
    image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    stretch = torch.tensor([size[1] / old[1], size[0] / old[0]]).repeat(2)  # x, y, x, y
    changed = target | {"boxes": target["boxes"] * stretch}
    if "masks" in target:
        changed["masks"] = F.interpolate(target["masks"][None].double(), size, mode="nearest-exact")[0].bool()
    return image, changed


def flipped(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Image, boxes and masks mirrored left to right."""
    x0, y0, x1, y1 = target["boxes"].unbind(1)
    width = image.shape[-1]
    changed = target | {"boxes": torch.stack([width - x1, y0, width - x0, y1], dim=1)}
    if "masks" in target:
        changed["masks"] = target["masks"].flip(-1)
    return image.flip(-1), changed


class Detection:
    """The task: its images, model, training batches, and mean average precision over the whole validation set."""

    kind = "detection"

    def __init__(
        self, recipe: TransferRecipe, encoder: TappedEncoder, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        needs_pycocotools()
        if recipe.data is None:
            self.source = scene_objects(encoder.image_size, recipe.train_images)
        else:
            self.source = load_objects(recipe.data, recipe.train_images, recipe.seed, recipe.skip_broken)
        self.recipe = recipe = completed(recipe, encoder, self.source.train)
        self.masks = self.source.train.has_masks and self.source.val.has_masks
        self.classes = self.source.train.classes
        self.mean, self.std = tuple(mean), tuple(std)
        assert recipe.head_width is not None and recipe.short_side is not None
        backbone = DenseBackbone(encoder, recipe.frozen, recipe.drop_path)
        least = 3 * backbone.multiple
        if recipe.short_side < least:
            raise UserError(
                f"short_side={recipe.short_side}: too small for this encoder's patches; give {least} or more"
            )
        self.model = Detector(
            Pyramid(backbone, recipe.head_width), len(self.classes), self.masks, mean, std, recipe.short_side,
            recipe.long_side, recipe.regions, recipe.seed,
        )  # fmt: skip
        self.batches = Batches(
            len(self.source.train), recipe.batch_size, recipe.seed, distributed.rank(), distributed.world_size()
        )
        self.dataset = Detections(
            self.source.train, self.batches, recipe.short_side, recipe.long_side, recipe.multi_scale, self.masks
        )

    @property
    def count(self) -> int:
        """The number of training images."""
        return len(self.source.train)

    @property
    def fingerprint(self) -> str:
        """Changes if names or sizes of the images, boxes or labels do."""
        return self.source.train.digest() + self.source.val.digest()

    def to_device(
        self, batch: tuple[list[Tensor], list[dict[str, Tensor]], Tensor], step: int, device: torch.device
    ) -> tuple[Any, ...]:
        """A training batch as the model takes it."""
        images, targets, rows = batch
        dtype = next(self.model.parameters()).dtype
        placed = [
            {
                name: x.to(device, dtype if x.is_floating_point() else torch.uint8 if name == "masks" else x.dtype)
                for name, x in target.items()
            }
            for target in targets
        ]
        return [self._float(image, device) for image in images], placed, step, rows

    def _float(self, image: Tensor, device: torch.device) -> Tensor:
        return image.to(device, non_blocking=True).to(next(self.model.parameters()).dtype) / 255

    @torch.no_grad()
    def evaluate(self, device: torch.device, precision: Precision, quiet: bool = False) -> dict[str, Any]:
        """COCO's `box_map` (IoU 0.5 to 0.95) and `box_map50`, and the same of masks if there are any.

        All processes call it and get the same.
        """
        val, found = self.source.val, []
        mine = range(distributed.rank(), len(val), distributed.world_size())
        with Progress(len(mine), "image", "evaluating", delay=2, leave=False, quiet=quiet) as bar:
            for index in mine:
                found += self._results(index, device, precision)
                bar.update()
        found = distributed.gather_lists(found, device)
        return average_precision(val, found, self.masks) | {"val_images": len(val)}

    def _results(self, index: int, device: torch.device, precision: Precision) -> list[dict[str, Any]]:
        """What is found in a validation image, as COCO's evaluators take it."""
        answer = self.detect(self.source.val.image(index), device, precision)
        results = []
        for i, (box, label, score) in enumerate(
            zip(answer["boxes"].tolist(), answer["labels"].tolist(), answer["scores"].tolist(), strict=True)
        ):
            x0, y0, x1, y1 = box
            result = {"image_id": index, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            if self.masks:
                code = encode_mask(answer["masks"][i, 0] > 0.5)
                result["segmentation"] = code | {"counts": code["counts"].decode()}
            results.append(result)
        return results

    @torch.no_grad()
    def detect(self, image: Tensor, device: torch.device, precision: Precision | None = None) -> dict[str, Tensor]:
        """torchvision's results for one image, uint8 (3, H, W)."""
        with (precision or Precision("fp32")).autocast(device):
            return self.model.detect([self._float(image, device)])[0]

    @torch.no_grad()
    def draw(self, device: torch.device, folder: Path, most: int = 8) -> None:
        """Write predictions.png into `folder`: validation images, the truth, what is found with a score of 0.3 or more."""
        val, cells = self.source.val, []
        for index in range(min(most, len(val))):
            image, truth = val.image(index), val.objects[index]
            answer = {name: x.cpu() for name, x in self.detect(image, device).items()}
            sure = answer["scores"] >= SURE
            found = answer["masks"][sure, 0] > 0.5 if self.masks else None
            cells += [
                scaled(image),
                self._drawn(
                    image, truth.boxes, truth.labels, truth.decoded() if self.masks and len(truth.boxes) else None
                ),
                self._drawn(image, answer["boxes"][sure], answer["labels"][sure] - 1, found),
            ]
        write_grid(cells, 3, folder / "predictions.png")

    def _drawn(self, image: Tensor, boxes: Tensor, labels: Tensor, masks: Tensor | None) -> Tensor:
        """The image enlarged, with boxes and masks in the colours of their classes."""
        large = scaled(image)
        if not len(boxes):
            return large
        colours = [tuple(colour) for colour in palette(len(self.classes))[labels].tolist()]
        if masks is not None:
            large = draw_segmentation_masks(large, scaled(masks.to(torch.uint8)).bool(), alpha=0.5, colors=colours)
        factor = large.shape[-1] / image.shape[-1]
        drawn: Tensor = draw_bounding_boxes(large, boxes * factor, colors=colours, width=2)
        return drawn


def completed(recipe: TransferRecipe, encoder: TappedEncoder, images: ObjectSet) -> TransferRecipe:
    """The recipe with short side and width filled in for this encoder and these images."""
    own = round(statistics.median(min(size) for size in images.sizes))
    return dataclasses.replace(
        recipe,
        head_width=recipe.head_width or min(256, encoder.width),
        short_side=recipe.short_side or min(own, 3 * encoder.image_size),
    )
