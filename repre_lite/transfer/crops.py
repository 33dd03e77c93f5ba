"""Training batches for segmentation: images and masks resized, cropped and flipped alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ..data.loaders import Batches
from ..data.masks import IGNORE, MaskSet
from ..runtime.randomness import fork

RATIO = (0.5, 2.0)  # of the short side, with multi_scale
MOST_OF_ONE = 0.75  # share of a crop that one class may take, if another crop can be found
ATTEMPTS = 10


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Item number `step` is the whole batch of that step: images uint8 (B, 3, crop, crop), masks int64 (B, crop, crop).

    Each image is resized to `short_side`, with `multi_scale` times a ratio of 0.5 to 2; where it is smaller than the crop
    it is padded by grey pixels that do not count. Of ten crops the first is taken that no class fills to more than three
    quarters; half of them are flipped. Everything is drawn from seed, step and row of the batch, so workers hold no state
    and a run resumes by asking for the next step.
    """

    def __init__(
        self,
        images: MaskSet,
        batches: Batches,
        short_side: int,
        crop: int,
        multi_scale: bool = False,
        photometric: bool = False,
    ) -> None:
        self.images, self.batches = images, batches
        self.short_side, self.crop, self.multi_scale = short_side, crop, multi_scale
        self.distort = v2.RandomPhotometricDistort(p=0.5) if photometric else None

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        indices, rows = self.batches.rows(step)
        pairs = [self._pair(step, int(row), int(index)) for row, index in zip(rows, indices, strict=True)]
        return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])

    def _pair(self, step: int, row: int, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.images[index]  # uint8 (3, H, W), int64 (H, W)
        with fork(self.batches.seed, f"crop/{step}/{row}"):
            low, high = RATIO if self.multi_scale else (1.0, 1.0)
            ratio = low + (high - low) * float(torch.rand(()))
            image, mask = resized(image, mask, self.short_side * ratio / min(mask.shape))
            image, mask = self._crop(image, mask)
            if torch.rand(()) < 0.5:
                image, mask = image.flip(-1), mask.flip(-1)
            if self.distort is not None:
                image = self.distort(image)
        return image, mask

    def _crop(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        side = self.crop
        below, right = (max(0, side - length) for length in mask.shape)
        if below or right:
            image = F.pad(image, (0, right, 0, below), value=128)
            mask = F.pad(mask, (0, right, 0, below), value=IGNORE)
        spare = [length - side for length in mask.shape]
        if spare == [0, 0]:
            return image, mask
        part = mask
        for _ in range(ATTEMPTS):
            top, left = (int(torch.randint(room + 1, ())) for room in spare)
            part = mask[top : top + side, left : left + side]
            counts = part[part != IGNORE].bincount()
            if len(counts) and counts.max() <= MOST_OF_ONE * counts.sum():
                break
        return image[:, top : top + side, left : left + side], part


def resized(image: Tensor, mask: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Image uint8 (3, H, W), antialiased bilinear, and mask int64 (H, W), nearest, both enlarged by `factor`."""
    size = enlarged((mask.shape[0], mask.shape[1]), factor)
    if size == mask.shape:
        return image, mask
    image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return image, F.interpolate(mask[None, None].double(), size, mode="nearest-exact")[0, 0].long()


def enlarged(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """A size in pixels (H, W) times `factor`, rounded, at least 1."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
