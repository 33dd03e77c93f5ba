"""The diagrams of lesson 11: what three tasks read of one encoder, and a pyramid made of one resolution."""

from __future__ import annotations

from ..kit import palette
from ..kit.drawing import Figure
from .card import INK, LINE, PALE, Card

SCALES = (4, 2, 1, 0.5)  # of a ViT's patch grid, as in `transfer.pyramid`


def three_readouts() -> Figure:
    """One encoder and what is read of it: the pooled feature, one map or all four, a pyramid of maps."""
    card = Card(8.4, 2.6)
    card.box((0.75, 1.3), (1.1, 0.6), "image", colour=LINE, fill=PALE)
    card.arrow([(1.3, 1.3), (1.6, 1.3)])
    card.box((2.4, 1.3), (1.6, 1.5), "encoder\n\n4 taps,\n8x8 patches", colour=palette.BLUE)
    rows = (
        (2.15, "pooled feature", "one class\nper image", "linear probe", LINE),
        (1.3, "last map, or all", "one class\nper pixel", "SETR", palette.GREEN),
        (0.45, "pyramid of maps", "boxes and masks\nper object", "Mask R-CNN", palette.VERMILLION),
    )
    for y, read, answer, head, colour in rows:
        card.arrow([(3.2, 1.3), (3.4, 1.3), (3.4, y), (3.65, y)])
        card.box((4.4, y), (1.5, 0.5), read, colour=LINE, fill="white")
        card.arrow([(5.15, y), (5.4, y)])
        card.box((6.0, y), (1.2, 0.5), head, colour=colour)
        card.arrow([(6.6, y), (6.85, y)])
        card.text((7.55, y), answer, colour=INK)
    return card.figure


def one_resolution(grid: int = 8, patch: int = 4) -> Figure:
    """The patch grid of a ViT and the levels made of it, each with its cells and the side of a cell in pixels."""
    card = Card(8.4, 2.5)
    side = 1.25
    _squares(card, (0.95, 1.3), side, grid, palette.BLUE)
    card.text((0.95, 0.36), f"last map\n{grid}x{grid}")
    card.text((0.95, 2.2), "ViT: one resolution", weight="bold")
    card.arrow([(1.7, 1.3), (2.25, 1.3)])
    card.text((5.35, 2.2), "simple feature pyramid: four levels of it", weight="bold")
    for index, scale in enumerate(SCALES):
        x = 3.1 + 1.5 * index
        cells = int(grid * scale)
        _squares(card, (x, 1.3), side, cells, palette.VERMILLION)
        stride = patch / scale
        card.text((x, 0.36), f"{cells}x{cells}\ncells of {stride:g} pixel{'s' * (stride != 1)}")
    return card.figure


def _squares(card: Card, centre: tuple[float, float], side: float, cells: int, colour: str) -> None:
    """A square grid of `cells` x `cells`, `side` inches wide."""
    (x, y), half = centre, side / 2
    card.box(centre, (side, side), colour=colour, width=1.2)
    for index in range(1, cells):
        at = -half + index * side / cells
        for xs, ys in (((x + at, x + at), (y - half, y + half)), ((x - half, x + half), (y + at, y + at))):
            card.axis.plot(xs, ys, color=colour, linewidth=0.5)
