"""The strip at the top of every lesson: the whole method with its lessons, and where the reader is."""

from __future__ import annotations

from ...runtime.errors import UserError
from ..kit import palette
from ..kit.drawing import Figure
from .card import INK, LINE, PALE, Card

SIZE = (0.76, 0.44)  # of a station, inches
LOW, MIDDLE, HIGH = 0.5, 0.78, 1.06
STATIONS = {  # name -> lesson, label, centre in inches
    "start": ("00", "start", (0.46, MIDDLE)),
    "views": ("01", "views", (1.38, MIDDLE)),
    "encoder": ("02", "encoder", (2.3, MIDDLE)),
    "decoder": ("03", "decoder", (3.77, HIGH)),
    "losses": ("04", "losses", (3.33, LOW)),
    "frameworks": ("05", "targets", (4.21, LOW)),
    "weighting": ("06", "weights", (5.24, MIDDLE)),
    "training": ("07", "training", (6.16, MIDDLE)),
    "inside": ("08", "inside", (7.18, HIGH)),
    "attention": ("09", "attention", (7.18, LOW)),
    "ablations": ("10", "ablations", (8.02, HIGH)),
    "transfer": ("11", "transfer", (8.02, LOW)),
    "scaling": ("12", "scaling", (9.04, MIDDLE)),
}
FORK, JOIN = 2.82, 4.74  # where the path divides in two, and where the two meet
PATHS = (
    [(0.84, MIDDLE), (1.0, MIDDLE)],
    [(1.76, MIDDLE), (1.92, MIDDLE)],
    [(2.68, MIDDLE), (FORK, MIDDLE), (FORK, HIGH), (3.39, HIGH)],
    [(FORK, MIDDLE), (FORK, LOW), (2.95, LOW)],
    [(3.71, LOW), (3.83, LOW)],
    [(4.15, HIGH), (JOIN, HIGH), (JOIN, MIDDLE), (4.86, MIDDLE)],
    [(4.59, LOW), (JOIN, LOW), (JOIN, MIDDLE), (4.86, MIDDLE)],
    [(5.62, MIDDLE), (5.78, MIDDLE)],
    [(6.54, MIDDLE), (6.74, MIDDLE)],
    [(8.46, MIDDLE), (8.66, MIDDLE)],
)
GROUP = ((7.6, MIDDLE), (1.72, 1.12))  # what a trained encoder is asked


def you_are_here(lesson: str) -> Figure:
    """The course as one strip, the station of `lesson` filled and marked.

    `lesson`: "start", "views", "encoder", "decoder", "losses", "frameworks", "weighting", "training", "inside",
    "attention", "ablations", "transfer" or "scaling". Raises UserError for another name.
    """
    if lesson not in STATIONS:
        raise UserError(f"lesson={lesson!r}: no such station; choose one of {', '.join(STATIONS)}")
    card = Card(9.5, 1.56)
    card.box(*GROUP, fill=PALE, colour=PALE)
    for points in PATHS:
        card.arrow(points)
    for name, (number, label, centre) in STATIONS.items():
        here = name == lesson
        card.box(centre, SIZE, fill=palette.BLUE if here else "white", colour=palette.BLUE if here else LINE)
        weight = "bold" if here else "normal"
        card.text(centre, f"{number}\n{label}", colour="white" if here else INK, weight=weight)
    x, y = STATIONS[lesson][2]
    words, away = ("\u25b4 here", -0.37) if y == LOW else ("here \u25be", 0.35)
    card.text((x, y + away), words, colour=palette.BLUE, weight="bold")
    return card.figure
