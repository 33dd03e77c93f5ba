"""Colour operations on a batch, each image with its own factors and its own order, in one static form.

Of colour jitter's four operations only hue is not linear: brightness, contrast and saturation all blend the
image with a reference (black, its mean grey, its grey), f * image + (1 - f) * reference. So a random order of the four is
three blends, of which those before hue act, then hue, then three blends, of which those after hue act. All follow
torchvision's definitions, without a choice per pixel: on a CPU selecting costs several times as much as computing.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # the weights of ITU-R BT.601 as torchvision rounds them
CONTRAST, SATURATION, HUE = 1, 2, 3  # 0 is brightness


def grey(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> luminance (B, 1, H, W)."""
    r, g, b = x[:, 0:1], x[:, 1:2], x[:, 2:3]  # (B, 1, H, W) each
    return (r * GREY[0]).add_(g, alpha=GREY[1]).add_(b, alpha=GREY[2])


def blend(x: Tensor, amounts: Tensor) -> Tensor:
    """One blend of an image, clamped to [0, 1]; `amounts` (B, 3) is f - 1 in the column of its operation, else 0."""
    factor = 1 + amounts.sum(1)  # (B,)
    factor, contrast, saturation = (
        f[:, None, None, None] for f in (factor, amounts[:, CONTRAST], amounts[:, SATURATION])
    )
    luminance = grey(x)  # (B, 1, H, W)
    mean = luminance.mean((2, 3), keepdim=True)  # (B, 1, 1, 1)
    reference = torch.addcmul(-mean * contrast, luminance, saturation, value=-1)  # (B, 1, H, W)
    return torch.addcmul(reference, x, factor).clamp_(0, 1)


def turn_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of (B, 3, H, W) by `shift` (B,), in turns, [-0.5, 0.5]; value and saturation stay.

    The hue's angle from red, 0 to 3 sixths of a turn, is (value - r + g + b - 2 least) / chroma; its sign is that of g - b.
    A channel is full within one sixth of its own hue, gone beyond two, linear between.
    """
    r, g, b = x.split(1, dim=1)  # (B, 1, H, W) each
    value = torch.maximum(torch.maximum(r, g), b)
    least = torch.minimum(torch.minimum(r, g), b)
    chroma = value - least
    sixths = (value - r).add_(g).add_(b).sub_(least, alpha=2).div_(chroma.clamp(min=1e-12)).copysign_(g - b)
    turns = sixths.mul_(1 / 6).add_(shift[:, None, None, None])  # (B, 1, H, W)
    own = torch.arange(3, device=x.device, dtype=x.dtype)[:, None, None] / 3  # the hues of red, green and blue
    away = turns - own  # (B, 3, H, W)
    away = away.sub_(away.round()).abs_().clamp_(1 / 6, 1 / 3)
    return torch.addcmul(value + chroma, chroma, away, value=-6)


def jitter(x: Tensor, factors: Tensor, shift: Tensor, order: Tensor) -> Tensor:
    """`x` (B, 3, H, W) in [0, 1]; `factors` (B, 3) of brightness, contrast, saturation; hue `shift` (B,) in turns;
    `order` (B, 4), which of the operations 0 to 3 comes first, second, third, fourth."""
    places = torch.arange(4, device=x.device)
    hue = (order == HUE).int().argmax(1, keepdim=True)  # (B, 1)
    acting = (order[:, :, None] == places[:3]) * (factors - 1)[:, None]  # (B, 4, 3)
    before = acting * (places < hue)[:, :, None]
    after = acting - before
    for place in (0, 1, 2):
        x = blend(x, before[:, place])
    x = turn_hue(x, shift)
    for place in (1, 2, 3):
        x = blend(x, after[:, place])
    return x


def solarise(x: Tensor, chosen: Tensor) -> Tensor:
    """Invert what is 0.5 or brighter in the images of (B, 3, H, W) that are `chosen`, bool (B,)."""
    top = 2 - chosen.to(x.dtype)[:, None, None, None]  # 1 - x is the smaller one exactly from 0.5 on, 2 - x never is
    return torch.minimum(x, top - x)
