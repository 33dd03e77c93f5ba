"""The rules of the doctor: each names one thing that is wrong, with the numbers that say so and one remedy.

A rule returns None if it sees nothing, if a number was not logged, or if it is too early to tell. Its thresholds lie between
what healthy and sabotaged runs log (`scripts/check_doctor.py`), but for two of twenty sabotaged ones: DINO without centring
is called healthy, and with a flat teacher at chance rather than collapsed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from ..losses import UncertaintyWeighting
from ..runs import NONFINITE
from .chart import Chart
from .usual import ratio

# kinds
COLLAPSED, CHANCE, ALONE, BOUNDS = "collapsed", "contrast at chance", "reconstruction only", "log-variances"
HIGH, LOW, REPEATS, ALIKE = "learning rate too high", "learning rate too low", "images repeat", "views alike"
PATCHES = "patches alike"

COPIES, FOUND = 0.5, 3  # equal images of an image; repeats in the sample: fewer are none
COLLAPSED_STD = 0.1  # a spread below it is a collapse; one below twice it, if it began above four times it
FEW_DIRECTIONS, FEW_IMAGES = 2.0, 8  # so few directions are a collapse, unless the batch has so few images
NEAR_CHANCE, NOTHING, WORSE = 0.95, 0.99, 1.02  # of the loss of guessing
REBOUND, FAST_REBOUND = 0.5, 0.2  # of the loss's range: a rise after a fall; the same at MANY times the usual rate
MANY = 10  # times the usual learning rate
STILL, LITTLE = 0.03, 0.15  # relative changes that are none, or little
SHARE = 0.01  # of the weighted sum of both losses: less is nothing
KEPT = 1e-3  # of the gradient: less is nothing
BOUND = 0.999 * math.exp(-UncertaintyWeighting().floor) / 2  # the largest weight that is learned
SWING = 30.0  # times the change of its loss: learned weights change less
SAME = 0.999  # cosine between patches: healthy runs of thousands of steps stay below 0.99
BOTH = ("contrastive", "reconstruction")


@dataclass(frozen=True)
class Finding:
    """What a run shows. `kind`: one word or two; `shows`: with its numbers; `remedy`: in Python's terms, may be empty."""

    kind: str
    shows: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.shows}" + f"; {self.remedy}" * bool(self.remedy)


def not_finite(chart: Chart) -> Finding:
    """A step whose loss or weights were not finite ended the run."""
    step = chart.metrics[-1]["step"] if chart.metrics else 0
    return Finding(
        HIGH,
        f"a loss or weight is not finite after step {step}, and {NONFINITE} holds the state before it",
        chart.remedy(["base_lr", "warmup_epochs"], f"lower {chart.rate} or raise warmup_epochs=, and train again"),
    )


def repeats(chart: Chart) -> Finding | None:
    """Images of the training set that are equal, as `data.repeats` counts them."""
    held, count = chart.facts.get("repeats"), chart.facts.get("image_count", 0)
    if not held or held["copies"] < COPIES or held["sampled"] - held["distinct"] < FOUND:
        return None
    batch = held["copies"] * (chart.facts.get("batch_size", 1) - 1) / max(1, count - 1)
    return Finding(
        REPEATS,
        f"only {held['distinct']:,} of {held['sampled']:,} sampled training images are distinct: on average "
        f"{held['copies']:.3g} others are equal to an image, {batch:.2g} of them in its batch, and the contrastive loss "
        "pushes them apart",
        "remove the copies from the training images",
    )


def alike(chart: Chart) -> Finding | None:
    """Both views of an image are the same image, so that contrast has nothing to learn."""
    views = chart.facts.get("views") or []
    if not chart.contrasts or len(views) < 2 or views[0] != views[1]:
        return None
    view = views[0]
    fixed = list(view["scale"]) == [1.0, 1.0] and view["ratio"][0] == view["ratio"][1]
    plain = all(view[name] in (0, 1) for name in ("flip", "grey", "solarise")) and not view["blur"]
    if not fixed or not plain or (view["jitter_p"] and any(view["jitter"])):
        return None
    return Finding(
        ALIKE,
        "the two views of an image are identical: the whole image, without flip, colour changes or blur",
        "set views.0.scale=0.2,1 and set views.1.scale=0.2,1",
    )


def clipped(chart: Chart) -> Finding | None:
    """Clipping leaves nothing of the gradient."""
    kept = chart.last("gradient_scale")
    if kept is None or kept > KEPT:
        return None
    return Finding(
        LOW,
        f"clipping leaves only {kept:.1g} of the gradient, so the encoder hardly changes",
        chart.remedy(
            ["clip_norm"], f"raise clip_norm={chart.facts.get('clip_norm') or ''}, or switch it off with clip_norm=None"
        ),
    )


def bounded(chart: Chart) -> Finding | None:
    """A learned weight stays at the largest value, or swings far more than its loss: at rest it goes as 1 / loss."""
    if chart.facts.get("weighting", "uncertainty") != "uncertainty" or not chart.late:
        return None
    for name in BOTH:
        floor = chart.floor if name == "contrastive" else 0.0
        weights, loss = chart.values(f"weight_{name}"), chart.last(name)
        if loss is None or not weights:
            continue
        heights = [max(1e-9, value - floor) for value in chart.values(name)]
        swing, need = (max(values) / max(1e-300, min(values)) for values in (weights, heights))
        if min(weights[-len(chart.late) :]) >= BOUND:
            shows = f"the learned weight of the {name} loss stays at its upper limit, {weights[-1]:.3g}, "
            shows += f"while the loss is {loss:.3g}"
        elif swing > SWING * need:
            shows = (
                f"the weight of the {name} loss has changed by a factor of {swing:.2g}, but the loss only by {need:.2g}"
            )
        else:
            continue
        otherwise = f"find out why that loss is {loss:.2g}, or use weighting=fixed:1,1"
        return Finding(BOUNDS, shows, chart.remedy(["weighting_lr"], otherwise))
    return None


def patches_alike(chart: Chart) -> Finding | None:
    """The patches of an image are nearly one vector at the last tap."""
    cosine = chart.last("patch_cosine")
    if cosine is None or cosine < SAME:
        return None
    return Finding(
        PATCHES,
        f"the mean cosine between the patches of an image is {cosine:.4f} at the last tap (1: all patches are equal)",
        "for dense tasks use an earlier tap; protocol='diversity' measures every tap",
    )


def collapsed(chart: Chart) -> Finding | None:
    """A spread near 0, or hardly a direction. Without contrast nothing spreads the embedding, and that is no failure."""
    spread, rank, began = chart.last("embedding_std"), chart.last("effective_rank"), chart.first("embedding_std")
    if spread is None or rank is None or not chart.contrasts:
        return None
    batch = chart.facts.get("batch_size", FEW_IMAGES + 1)
    fell = began is not None and began > 4 * COLLAPSED_STD and spread < 2 * COLLAPSED_STD
    if not (spread < COLLAPSED_STD or fell or (rank < FEW_DIRECTIONS and batch > FEW_IMAGES)):
        return None
    names = ["base_lr", "method.momentum", "method.centre_momentum", "method.teacher_start", "method.teacher_temperature",
             "method.temperature", "warmup_epochs"]  # fmt: skip
    return Finding(
        COLLAPSED,
        f"the embeddings of a batch of {batch} have a spread of {spread:.2g} (0: all are equal, about 1: spread evenly) and "
        f"an effective rank of {rank:.1f}",
        chart.remedy(names, f"lower {chart.rate}, or raise warmup_epochs= or batch_size={batch}{chart.watch}"),
    )


def at_chance(chart: Chart) -> Finding | None:
    """The contrastive loss is that of guessing."""
    over = chart.last("loss_over_chance")
    if over is None or over < NOTHING:
        return None
    names = ["method.temperature", "method.student_temperature", "method.teacher_temperature", "method.teacher_start",
             "base_lr", "method.momentum"]  # fmt: skip
    return Finding(
        CHANCE,
        f"after the warm-up the contrastive loss is still {over:.1%} of its value at chance",
        chart.remedy(names, f"try doubling and halving {chart.rate}, or a lower temperature"),
    )


def unweighted(chart: Chart) -> Finding | None:
    """Fixed weights leave next to nothing of the contrastive loss in the weighted sum. Learned weights make it a half."""
    weights, losses = ([chart.last(f"{what}{name}") for name in BOTH] for what in ("weight_", ""))
    if chart.facts.get("weighting", "uncertainty") == "uncertainty" or None in (*weights, *losses):
        return None
    parts = [
        (w or 0.0) * ((loss or 0.0) - low) for w, loss, low in zip(weights, losses, (chart.floor, 0.0), strict=True)
    ]
    share = parts[0] / sum(parts) if sum(parts) > 0 else 0.0
    if share >= SHARE:
        return None
    return Finding(
        ALONE,
        f"the contrastive loss is only {share:.1g} of the weighted sum of both, so the encoder learns from reconstruction alone",
        f"raise the first weight of weighting={chart.facts.get('weighting')}, or use weighting=uncertainty",
    )


def reconstruction_only(chart: Chart) -> Finding | None:
    """The reconstruction loss falls and the contrastive loss does not."""
    if chart.rises:
        return None
    contrast, error, over = (chart.last(name) for name in (*BOTH, "loss_over_chance"))
    if contrast is None or error is None:
        return None
    highest, first = (
        max(chart.values(name)[:3]) for name in BOTH
    )  # an early fall may be over by the second logged step
    fell = _fall(highest, contrast, chart.floor)
    if fell > STILL or (over is not None and over < NEAR_CHANCE) or _fall(first, error) < 2 * STILL:
        return None
    return Finding(
        ALONE,
        f"the reconstruction loss fell from {first:.3g} to {error:.3g}, but the contrastive loss did not "
        f"({highest:.3g} to {contrast:.3g})",
        chart.remedy(
            ["method.temperature", "method.momentum", "base_lr"],
            f"try doubling and halving {chart.rate}, or a larger batch_size=",
        ),
    )


def rate_high(chart: Chart, ill: bool) -> Finding | None:
    """The loss is worse than guessing, or rises far after it fell; or the run is `ill` at many times the usual rate."""
    times, over = ratio(chart.facts, "base_lr"), chart.last("loss_over_chance")
    name = "contrastive" if chart.contrasts else "reconstruction"
    low, high, began = _rebound(chart, name)
    most = FAST_REBOUND if times >= MANY else REBOUND
    rose = chart.late and high - low > most * max(1e-9, began - (chart.floor if chart.contrasts else 0.0))
    ranks = chart.first("effective_rank"), chart.last("effective_rank")
    narrow = ranks[0] and ranks[1] and ranks[1] < ranks[0] / 4 and chart.contrasts
    if not chart.rises and over is not None and over > WORSE:
        shows = f"the contrastive loss is {over:.0%} of its value at chance: worse than guessing"
    elif not chart.rises and rose:
        shows = f"the {name} loss fell to {low:.3g} and rose again to {high:.3g}"
    elif times >= MANY and chart.late and (ill or narrow or (over or 0) >= NEAR_CHANCE):
        shows = f"the learning rate is {times:.3g} times the recipe's default"
        if ranks[0] is not None and ranks[1] is not None:
            shows += f", and the effective rank went from {ranks[0]:.1f} to {ranks[1]:.1f}"
        shows += "" if over is None else f", and the contrastive loss is {over:.0%} of its value at chance"
    else:
        return None
    return Finding(
        HIGH,
        shows,
        chart.remedy(
            ["base_lr", "warmup_epochs", "clip_norm"], f"try a third of {chart.rate} or a larger warmup_epochs="
        ),
    )


def rate_low(chart: Chart) -> Finding | None:
    """Nothing moves: neither a loss nor the embedding, beyond what differs from batch to batch."""
    names = ["reconstruction", "embedding_std", "effective_rank"] + ["contrastive"] * (not chart.rises)
    moves = []
    for name in names:
        begun, now = chart.first(name), chart.last(name)
        if begun is not None and now is not None:
            moves.append(abs(_fall(begun, now, chart.floor if name == "contrastive" else 0.0)))
    limit = LITTLE if ratio(chart.facts, "base_lr") <= 1 / MANY else STILL
    if len(moves) < 3 or max(moves) > limit:
        return None
    return Finding(
        LOW,
        f"after {chart.metrics[-1]['step']:,} steps no loss and no measure of the embedding has changed by more than "
        f"{max(moves):.1%}",
        chart.remedy(["base_lr", "clip_norm"], f"try ten times {chart.rate}"),
    )


def _fall(begun: float, now: float, floor: float = 0.0) -> float:
    """By which share of its height above its lowest value a measure has fallen."""
    return (begun - now) / max(1e-9, begun - floor)


def _rebound(chart: Chart, name: str) -> tuple[float, float, float]:
    """The lowest and the later highest value of a loss, both of medians of five, and its first value."""
    values = chart.values(name)
    smooth = [statistics.median(values[i : i + 5]) for i in range(max(0, len(values) - 4))]
    lowest, pair = math.inf, (0.0, 0.0)
    for value in smooth:
        lowest = min(lowest, value)
        pair = max(pair, (lowest, value), key=lambda ends: ends[1] - ends[0])
    return *pair, chart.first(name) or 0.0
