"""The paper's figures 1 and 2 in a design of our own, drawn from the numbers of a real encoder and with real images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..kit import palette
from ..kit.drawing import Figure
from .card import LINE, PALE, Card
from .diagrams import pixels

GREY_BAND, LOSS = "#eaecef", (1.3, 0.5)


def figure1(image: Tensor, views: Sequence[Tensor], reconstruction: Tensor) -> Figure:
    """A contrastive framework (MoCo v3's, the grey band) and the branch that reconstructs view 1 (above it).

    `image`, the two `views` and the `reconstruction` of view 1: (3, H, W) in [0, 1].
    """
    card = Card(9.5, 4.1)
    low, middle, high = 0.75, 2.0, 3.3
    card.box((4.4, 1.37), (6.3, 2.3), fill=GREY_BAND, colour=GREY_BAND)
    card.text((7.45, 0.4), "contrastive framework", ha="right", colour=LINE, weight="bold")
    card.text(
        (1.35, 3.85), "reconstruction branch: what RePre adds", ha="left", colour=palette.VERMILLION, weight="bold"
    )
    card.image((0.6, 1.37), 0.8, pixels(image))
    card.text((0.6, 1.9), "image")
    for y, view, name in ((middle, views[0], "view 1"), (low, views[1], "view 2")):
        card.arrow([(1.02, 1.37), (1.2, 1.37), (1.2, y), (1.53, y)])
        card.image((2.0, y), 0.8, pixels(view))
        card.text((2.0, y + 0.51), name)
        card.arrow([(2.42, y), (2.68, y)])
    card.box((3.35, middle), (1.3, 0.6), "online\nencoder", palette.BLUE)
    card.box((3.35, low), (1.3, 0.6), "target\nencoder", palette.BLUE, line="--")
    card.arrow([(3.35, middle - 0.32), (3.35, low + 0.32)], palette.BLUE, ":")
    card.text((3.42, 1.37), "moving\naverage", colour=palette.BLUE, ha="left")
    for y, name, line, letter in ((middle, "projector,\npredictor", "-", "q"), (low, "projector", "--", "k")):
        card.arrow([(4.02, y), (4.33, y)])
        card.box((4.95, y), (1.2, 0.6), name, palette.BLUE, line=line)
        card.arrow([(5.57, y), (6.6, y), (6.6, 1.37 + (0.27 if y == middle else -0.27))])
        card.text((6.1, y + 0.14), f"{letter}, a vector")
    card.box((6.6, 1.37), LOSS, "contrastive\nloss (eq. 1)", palette.GREEN)
    card.arrow([(3.35, middle + 0.32), (3.35, high - 0.32)], palette.VERMILLION)
    card.text((3.42, 2.68), "four taps", colour=palette.VERMILLION, ha="left")
    card.box((3.35, high), (1.5, 0.6), "reconstruction\ndecoder", palette.VERMILLION)
    card.arrow([(4.12, high), (4.5, high)], palette.VERMILLION)
    card.image((4.95, high), 0.8, pixels(reconstruction.clamp(0, 1)))
    card.text((4.95, high + 0.51), "reconstruction")
    card.arrow([(5.37, high), (5.93, high)], palette.VERMILLION)
    card.box((6.6, high), LOSS, "L1 loss\n(eq. 3)", palette.VERMILLION)
    card.arrow([(2.0, middle + 0.62), (2.0, 2.8), (6.6, 2.8), (6.6, high - 0.27)], palette.VERMILLION, "--")
    card.text((5.9, 2.68), "target: view 1", colour=palette.VERMILLION)
    for y, factor in ((1.37, "\u03bb\u2081"), (high, "\u03bb\u2082")):
        card.arrow([(7.27, y), (8.5, y), (8.5, 2.335 + (0.27 if y > 2 else -0.27))])
        card.text((7.9, y + 0.13), f"times {factor}")
    card.box((8.5, 2.335), (1.5, 0.5), "total loss (eq. 4)", LINE, fill="white", weight="bold")
    return card.figure


def figure2(taps: Sequence[int], depth: int, layers: int = 2) -> Figure:
    """Taps of an encoder of `depth` blocks, and the decoder that fuses them from deep to shallow.

    `taps`: the blocks, counted from 0; `layers`: fusion layers in a block of the decoder.
    """
    card = Card(9.5, 4.2)
    step = 2.9 / (depth - 1)
    heights = [0.62 + step * block for block in range(depth)]
    card.text((1.1, 4.0), f"encoder, {depth} blocks", colour=palette.BLUE, weight="bold")
    for block, y in enumerate(heights):
        tapped = block in taps
        look: dict[str, Any] = (
            {"colour": palette.BLUE, "width": 1.6} if tapped else {"colour": LINE, "fill": PALE, "width": 0.8}
        )
        card.box((1.1, y), (1.5, 0.72 * step), **look)
        if tapped:
            card.text((1.1, y), f"block {block}", weight="bold")
    card.arrow([(1.1, 0.2), (1.1, heights[0] - 0.4 * step)], palette.BLUE)
    card.text((1.2, 0.2), "patches of view 1", ha="left")
    deepest, *shallower = list(reversed(taps))
    x, spacing = 3.3, 1.62
    card.text((x - 0.66, 4.0), "decoder, deep to shallow", colour=palette.VERMILLION, weight="bold", ha="left")
    y = heights[deepest]
    card.arrow([(1.87, y), (x - 0.68, y)], palette.BLUE)
    for number, tap in enumerate(shallower):
        centre = (x + spacing * number, y)
        card.box(centre, (1.3, 0.52), f"fusion block {number + 1}", palette.VERMILLION)
        card.arrow([(1.87, heights[tap]), (centre[0], heights[tap]), (centre[0], y - 0.28)], palette.BLUE)
        card.arrow([(centre[0] + 0.67, y), (centre[0] + spacing - 0.68, y)], palette.VERMILLION)
    end = x + spacing * len(shallower)
    card.box((end, y), (1.3, 0.52), "1x1 convolution,\npixels in place", palette.VERMILLION)
    card.arrow([(end, y - 0.28), (end, y - 0.78)], palette.VERMILLION)
    card.text((end, y - 0.92), "reconstruction of view 1")
    inside = (end - 0.06, 0.72)
    card.box(inside, (2.66, 1.14), colour=palette.VERMILLION, fill="white", line="--")
    card.text((inside[0], inside[1] + 0.41), "inside a fusion block", colour=palette.VERMILLION, weight="bold")
    card.text((inside[0], inside[1] - 0.1), f"join deep and shallow: C + C channels\n{layers} x (3x3 convolution, ReLU): back to C\n"
              "Swin: enlarge the deep map first")  # fmt: skip
    return card.figure
