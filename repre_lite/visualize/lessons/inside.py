"""The diagrams of lesson 08: which encoders are compared, and what a shared direction does to a cosine."""

from __future__ import annotations

import numpy as np

from ..kit import palette
from ..kit.drawing import Figure
from .card import INK, LINE, PALE, Card

ARMS = {"untrained": LINE, "detached": palette.BLUE, "multi": palette.VERMILLION}


def three_encoders() -> Figure:
    """One initial encoder, and the two arms that start from it: in `detached` no gradient of the L1 loss reaches it."""
    card = Card(7.6, 2.5)
    card.box((0.95, 1.25), (1.5, 0.72), "untrained\none seed", colour=LINE, fill=PALE)
    for name, y, word in (("detached", 1.92, "gradient stops"), ("multi", 0.58, "gradient passes")):
        colour = ARMS[name]
        card.arrow([(1.7, 1.25), (1.95, 1.25), (1.95, y), (2.2, y)], colour)
        card.box((2.95, y), (1.5, 0.72), f"{name}\nencoder", colour=colour)
        card.arrow([(4.55, y + 0.24), (3.7, y + 0.24)], colour)
        card.box((5.55, y + 0.24), (2.0, 0.32), "contrastive loss", colour=LINE, fill="white")
        stops = name == "detached"
        card.arrow([(4.55, y - 0.24), (3.7, y - 0.24)], colour, ":" if stops else "-", "-" if stops else "-|>")
        card.box((5.55, y - 0.24), (2.0, 0.32), "decoder, L1 loss", colour=LINE, fill="white")
        card.text((7.05, y - 0.24), word.replace(" ", "\n"), colour=colour)
        if stops:
            card.text((4.12, y - 0.24), "\u00d7", size=17, colour=colour, weight="bold")
    card.text((5.55, 1.25), "gradients, on the same images and views", colour=INK)
    return card.figure


def shared_direction(spread: float = 0.5, shift: float = 2.0) -> Figure:
    """The same patches twice, as arrows from the origin: around it, and moved by `shift` along one direction.

    `spread`: length of the differences between patches. Below each the mean cosine, which the move alone changes.
    """
    angles = np.linspace(0, 2 * np.pi, 7)[:-1] + 0.3
    patches = spread * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (6, 2)
    card = Card(7.6, 2.35)
    for left, moved, title in ((0.9, 0.0, "around zero"), (3.9, shift, "the same, moved by one shared vector")):
        points = patches + np.array([moved, 0])
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        cosine = ((unit @ unit.T).sum() - len(unit)) / (len(unit) * (len(unit) - 1))
        origin = (left, 1.25)
        for x, y in points:
            card.arrow([origin, (left + x, 1.25 + y)], palette.BLUE)
        card.box(origin, (0.09, 0.09), colour=INK, fill=INK)
        if moved:
            card.arrow([origin, (left + moved, 1.25)], palette.VERMILLION)
        middle = left + moved / 2
        card.text((middle, 2.15), title, weight="bold")
        card.text(
            (middle, 0.3), f"mean cosine {cosine:.2f}, differences the same" if moved else f"mean cosine {cosine:.2f}"
        )
    return card.figure
