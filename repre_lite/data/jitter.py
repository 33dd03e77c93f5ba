"""Colour jitter on a batch, each picture with its own factors and its own order, in one static form.

Of the four operations only hue leaves the straight line: brightness, contrast and saturation all blend the picture with
a reference (black, its mean grey, its grey), x * f + reference * (1 - f). So a random order of four is: three blends of
which those before hue act, hue, the same three blends of which those after hue act.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # the weights of ITU-R BT.601 as torchvision rounds them


def grey(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> luminance (B, 1, H, W)."""
    r, g, b = x.split(1, dim=1)
    return r * GREY[0] + g * GREY[1] + b * GREY[2]


def blend(x: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """One blend per picture, clamped to [0, 1]: `operation` (B,) 0 brightness, 1 contrast, 2 saturation; `factor` (B,).

    A factor of 1 changes nothing.
    """
    luminance = grey(x)  # (B, 1, H, W)
    rest = (1 - factor)[:, None, None, None]
    contrast = (operation == 1).to(x.dtype)[:, None, None, None] * rest
    saturation = (operation == 2).to(x.dtype)[:, None, None, None] * rest
    reference = luminance * saturation + luminance.mean((2, 3), keepdim=True) * contrast  # (B, 1, H, W)
    return torch.addcmul(reference, x, factor[:, None, None, None]).clamp_(0, 1)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of (B, 3, H, W) by `shift` (B,), in turns, [-0.5, 0.5]; value and saturation stay."""
    r, g, b = x.unbind(1)  # (B, H, W) each
    value, least = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = value - least
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    by_r, by_g, by_b = (g - b) / safe, (b - r) / safe + 2, (r - g) / safe + 4
    sextant = torch.where(value == r, by_r, torch.where(value == g, by_g, by_b))  # hue in sixths of a turn
    sextant = sextant + 6 * shift[:, None, None]
    offsets = x.new_tensor([5.0, 3.0, 1.0])[None, :, None, None]
    k = (sextant[:, None] + offsets).remainder(6)  # (B, 3, H, W)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def jitter(x: Tensor, factors: Tensor, shift: Tensor, order: Tensor) -> Tensor:
    """`x` (B, 3, H, W) in [0, 1]; `factors` (B, 3) of brightness, contrast, saturation; hue `shift` (B,) in turns;
    `order` (B, 4), a permutation of 0 to 3 (3 is hue) that says which operation comes when."""
    place = order.argsort(1)  # (B, 4): when each operation comes
    blends = place[:, :3].argsort(1)  # (B, 3): the blends in their order
    before = place < place[:, 3:]  # (B, 4): operations that come before hue
    one = torch.ones_like(factors)
    for acting in (before[:, :3], None):
        if acting is None:
            x, acting = shift_hue(x, shift), ~before[:, :3]
        used = torch.where(acting, factors, one)  # (B, 3)
        for slot in range(3):
            operation = blends[:, slot]
            x = blend(x, operation, used.gather(1, operation[:, None])[:, 0])
    return x
