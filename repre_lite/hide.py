"""Hidden patches: an option beyond the paper, whose RePre "does not require a masking strategy" (section 2.2).

Reconstructing what the encoder sees is easier than reconstructing what it does not see; `hide` lets you test the latter.
"""

from __future__ import annotations

from torch import Tensor

from .runtime.randomness import uniform

PURPOSE = 0x48494445  # this draw's own in the counter-based hash; views use small numbers


def hidden_patches(seed: int, step: int | Tensor, rows: Tensor, share: float, grid: int) -> Tensor:
    """Which patches to hide, bool (B, h, w) with h = w = `grid`: the same number in every image, a `share` in [0, 1].

    A function of seed, step and `rows`, int64 (B,), the rows of the global batch: equal on every device, for any number
    of processes, and after a resume.
    """
    count = round(share * grid * grid)
    order = uniform(seed, step, rows, PURPOSE, grid * grid).argsort(dim=1, stable=True)  # (B, N), a random permutation
    return (order < count).view(-1, grid, grid)  # (B, h, w)


def hide(images: Tensor, hidden: Tensor) -> Tensor:
    """Normalised `images` (B, 3, H, W) with their `hidden` patches, bool (B, h, w), in the mean colour, which is 0."""
    side = images.shape[-1] // hidden.shape[-1]
    pixels = hidden.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)  # (B, H, W)
    return images.masked_fill(pixels[:, None], 0)
