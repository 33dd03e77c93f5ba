"""What differs between the seven frameworks, as data: lessons and README print it from here."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """One framework in the words of the field; `loss` is the range of its loss."""

    negatives: str
    queue: str
    predictor: str
    target: str
    stopped_gradient: str
    views: str
    loss: str


DIFFERENCES: dict[str, Difference] = {
    "simclr": Difference("the batch, both views", "none", "none", "none", "nowhere", "2", "0 to infinity"),
    "byol": Difference("none", "none", "2 layers", "moving average", "target", "2, asymmetric", "0 to 8"),
    "simsiam": Difference("none", "none", "2 layers, bottleneck", "none", "second branch", "2", "-1 to 1"),
    "moco_v2": Difference("the queue", "1", "none", "moving average", "target", "2, one direction", "0 to infinity"),
    "moco_v3": Difference(
        "the batch, other view", "none", "2 layers", "moving average", "target", "2, asymmetric", "0 to infinity"
    ),
    "moby": Difference(
        "the queues", "2", "2 layers", "moving average, no drop-path", "target", "2, asymmetric", "0 to infinity"
    ),
    "dino": Difference(
        "none", "none", "none", "moving average, centred and sharpened", "target", "2 and local crops", "0 to infinity"
    ),
}


def markdown() -> str:
    """The table in Markdown, a framework a line."""
    names = ["framework", *(name.replace("_", " ") for name in Difference._fields)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join([f"`{name}`", *row]) + " |" for name, row in DIFFERENCES.items()]
    return "\n".join(lines)
