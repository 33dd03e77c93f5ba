"""The patches of images with masks: features of every tap, and what is in each patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.masks import IGNORE, MaskSet
from ..encoder import TappedEncoder
from ..runtime import distributed
from ..runtime.modes import evaluating
from ..runtime.progress import Progress
from ..runtime.randomness import generator

FINEST = 32  # patches a side of the grid; finer taps are averaged down to it
BATCH = 32
FLAT = 1e-3  # squared brightness differences that are no edge, brightness in [0, 1]


@dataclass(frozen=True)
class Patches:
    """n patches of several images, on one grid.

    `taps`: K features fp32 (n, C_i), on the CPU. `counts` int64 (n, classes + 1): how many of a patch's pixels have each
    class; the last column counts those to be ignored. `orientation` and `position` fp32 (n, 2): see `edge_orientation`,
    and the column and row of the patch, from -1 to 1. `image`, `rank` int64 (n,): which image a patch is from, and its
    place among the patches of that image that are kept.
    """

    grid: int
    taps: tuple[Tensor, ...]
    counts: Tensor
    orientation: Tensor
    position: Tensor
    image: Tensor
    rank: Tensor

    def labels(self) -> Tensor:
        """The class of each patch: that of most of its pixels; IGNORE if most are to be ignored, or if it has none. (n,)"""
        most = self.counts.argmax(1)
        ignored = (most == self.counts.shape[1] - 1) | (self.counts.sum(1) == 0)
        return most.masked_fill(ignored, IGNORE)


@torch.no_grad()
def read_patches(
    encoder: TappedEncoder,
    masks: MaskSet,
    mean: Sequence[float],
    std: Sequence[float],
    quota: Sequence[int] | None = None,
    seed: int = 0,
) -> Patches:
    """The patches of all images of `masks`, each resized to the square that the encoder takes, whatever its shape.

    The grid is that of the finest tap, at most 32 x 32; coarser taps (Swin) are upsampled bilinearly to it, as in the
    decoder. `quota`: the most patches kept of each image, drawn by `seed`; None keeps all, in the order of the grid. Several
    processes share the images, and each gets all patches.
    """
    device, size = next(encoder.parameters()).device, encoder.image_size
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    grid = grid_of(encoder)
    axis = (2 * torch.arange(grid) + 1) / grid - 1  # (G,)
    position = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).flatten(0, 1)  # (G*G, 2): column, row
    taps: list[list[Tensor]] = [[] for _ in encoder.tap_indices]
    counts, orientations, positions, images, ranks = [], [], [], [], []
    mine = distributed.share(len(masks))
    with evaluating(encoder), Progress(len(mine), "image", "patches", delay=2, leave=False) as bar:
        for start in mine[::BATCH]:
            rows = range(start, min(start + BATCH, mine.stop))
            pairs = [masks[row] for row in rows]
            pixels = torch.cat([_squared(image, size) for image, _ in pairs])  # (B, 3, size, size)
            x = ((pixels - shift) / scale).to(device, next(encoder.parameters()).dtype)
            maps = [_tokens(tap.float(), grid).cpu() for tap in encoder(x).taps]  # K of (B, G*G, C_i)
            edges = edge_orientation(pixels, grid)  # (B, G*G, 2)
            for index, row in enumerate(rows):
                kept = torch.arange(grid * grid)
                if quota is not None:
                    kept = torch.randperm(grid * grid, generator=generator(seed, f"patches/{row}"))[: quota[row]]
                for held, tokens in zip(taps, maps, strict=True):
                    held.append(tokens[index, kept])
                counts.append(patch_counts(pairs[index][1], grid, len(masks.classes))[kept])
                orientations.append(edges[index, kept])
                positions.append(position[kept])
                images.append(torch.full((len(kept),), row))
                ranks.append(torch.arange(len(kept)))
            bar.update(len(pairs))

    def whole(parts: list[Tensor]) -> Tensor:
        return distributed.gather_shares(torch.cat(parts), len(masks), device)

    rest = map(whole, (counts, orientations, positions, images, ranks))
    return Patches(grid, tuple(map(whole, taps)), *rest)


def grid_of(encoder: TappedEncoder) -> int:
    """Patches a side of the grid on which the taps of `encoder` are compared."""
    return min(FINEST, max(encoder.tap_grids))


def _squared(image: Tensor, size: int) -> Tensor:
    """A whole image uint8 (3, H, W), nothing cut off -> (1, 3, size, size) in [0, 1]."""
    x = image[None].float() / 255
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def _tokens(tap: Tensor, grid: int) -> Tensor:
    """A tap (B, C, h, w) on the common grid, (B, G*G, C)."""
    if tap.shape[-1] > grid:
        tap = F.adaptive_avg_pool2d(tap, grid)
    elif tap.shape[-1] < grid:
        tap = F.interpolate(tap, size=(grid, grid), mode="bilinear", align_corners=False)
    return tap.flatten(2).transpose(1, 2)


def place_of(shape: Sequence[int], grid: int) -> Tensor:
    """The patch that each pixel of an image of `shape` (H, W) lies in, int64 (H, W): any shape is cut into `grid` x `grid`."""
    rows, columns = (torch.arange(side) * grid // side for side in shape)
    return rows[:, None] * grid + columns[None]


def patch_counts(mask: Tensor, grid: int, classes: int) -> Tensor:
    """How many pixels of each class lie in each patch, int64 (G*G, classes + 1); the last column counts IGNORE.

    `mask`: int64 (H, W).
    """
    labels = torch.where(mask == IGNORE, classes, mask)
    cells = place_of(mask.shape, grid) * (classes + 1) + labels  # (H, W)
    return torch.bincount(cells.flatten(), minlength=grid * grid * (classes + 1)).view(grid * grid, classes + 1)


def edge_orientation(pixels: Tensor, grid: int) -> Tensor:
    """Direction and strength of the edges in each patch, fp32 (B, G*G, 2): a vector (cos 2t, sin 2t) times its certainty.

    `pixels` (B, 3, H, W) in [0, 1]. From the structure tensor J of the patch, the mean products of the brightness's
    differences: (Jxx - Jyy, 2 Jxy) / (Jxx + Jyy + 0.001); 0 in a flat patch or one without a main direction. t is the
    angle of the gradient; doubled, since an edge has no front (Bigun and Granlund, 1987).
    """
    grey = F.pad(pixels.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")  # (B, 1, H+2, W+2)
    dx = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]) / 2
    dy = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]) / 2
    tensor = F.adaptive_avg_pool2d(torch.cat([dx * dx, dy * dy, dx * dy], dim=1), grid)  # (B, 3, G, G)
    xx, yy, xy = tensor.flatten(2).unbind(1)  # (B, G*G)
    return torch.stack([xx - yy, 2 * xy], dim=-1) / (xx + yy + FLAT)[..., None]
