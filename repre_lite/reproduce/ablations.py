"""The table `ablations`, ours: what the effect of the branch depends on.

Each row is a pair of arms, `detached` and one with the branch, which differs from the pair of the primary protocol in one
choice. Runs that `local` has too are shared with it. Three seeds: differences with intervals, no claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..recipes import recipe
from .cells import Line, primary
from .layouts import FRAMEWORKS, Built, Namer

NOTE = (
    "Each row compares the branch with the same framework alone. Where the features or the decoder are chosen, reconstruction "
    "errors are those of two different decoders."
)
MEASURES = ("knn_top1", "knn_top1_few", "linear_top1_few", "patch_cosine", "dense_miou", "reconstruction_error")


@dataclass(frozen=True)
class Choice:
    """A row. `labels`: what is chosen, and how. `arm`: the name of the run with the branch, whose recipe has the `changes`.
    `both`: the name of a change to both arms, which have the changes `pair`."""

    labels: tuple[str, str]
    arm: str = "multi"
    changes: Mapping[str, Any] = field(default_factory=dict)
    framework: str = "MoCo v3"
    both: str = ""
    pair: Mapping[str, Any] = field(default_factory=dict)


CHOICES = (
    Choice(("as in local", "MoCo v3, multi")),
    *(Choice(("framework", name), framework=name) for name in FRAMEWORKS if name != "MoCo v3"),
    Choice(("features", "the last tap"), "single", {"reconstruction": "single"}),
    Choice(("fusion layers", "1 convolution"), "multi conv1", {"fusion_layers": 1}),
    Choice(("fusion layers", "4 convolutions"), "multi conv4", {"fusion_layers": 4}),
    Choice(("fusion layers", "1 transformer block"), "multi transformer1", {"fusion": "transformer", "fusion_layers": 1}),
    Choice(("fusion layers", "2 transformer blocks"), "multi transformer2", {"fusion": "transformer"}),
    Choice(("fusion layers", "4 transformer blocks"), "multi transformer4", {"fusion": "transformer", "fusion_layers": 4}),
    Choice(("loss weights", "fixed at 1 and 1"), "multi fixed", {"weighting": "fixed:1,1"}),
    Choice(("decoder's width", "the encoder's"), "multi full", {"decoder_width": "full"}),
    Choice(("decoder's initialisation", "PyTorch's"), "multi torch", {"decoder_init": "torch"}),
    Choice(("reconstructed", "both views"), "multi both", {"reconstruct_views": "both"}),
    Choice(("hidden", "half of view 1, for both losses"), both="hide 0.5", pair={"hide": 0.5}),
    Choice(("steps", "ten times as many"), both="x10", pair={"length": 10}),
)  # fmt: skip


def ablations(namer: Namer) -> Built:
    """A pair of lines for each choice; a base that several of them share is listed once."""
    held = primary()
    small = namer.small and namer.scale in held["scales"]
    lines: dict[str, Line] = {}
    for choice in CHOICES:
        own = recipe(namer.scale, FRAMEWORKS[choice.framework], "small" if namer.small else "full")
        # the learning rate that the recipe reaches with its own batches
        rate = {"base_lr": own.base_lr * own.batch_size / held["recipe"]["batch_size"]} if small else {}
        base, repre = (f"{arm} {choice.both}".rstrip() for arm in (held["base"], choice.arm))
        pair = {"defaults": rate, **choice.pair}
        without = namer.line(
            choice.labels, choice.framework, "ViT-S", base, **pair, **held["arms"][held["base"]],
        )  # fmt: skip
        lines.setdefault(without.name, without)
        changes = {"reconstruction": "multi", **choice.changes}
        found = namer.line(choice.labels, choice.framework, "ViT-S", repre, base=without.name, **pair, **changes)
        lines[found.name] = found
    measures = tuple(name for name in MEASURES if namer.scale == "scenes" or name not in held["only_scenes"])
    title = "What the effect of the branch depends on"
    return title, ("Choice", "Chosen"), tuple(lines.values()), measures, {"beside": True}
