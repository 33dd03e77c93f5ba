"""The answer on top of the page: what was trained, how good it is, and what it is compared with."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..data.naming import named
from ..evaluation.doctor import examine
from ..runs import RECIPE, Run, read_json
from ..runtime.errors import UserError
from .arms import Arm
from .pieces import text

ACCURACIES = {  # keys of summary.json, the first ones first -> name
    "knn_top1": "k-NN top-1",
    "linear_top1": "linear probe top-1",
    "linear_sgd_top1": "linear probe by SGD, top-1",
    "finetune_top1": "fine-tuned, top-1",
    "dense_miou": "mIoU of patch probes",
    "miou": "mIoU",
    "box_map": "box mAP",
    "mask_map": "mask mAP",
}
ONLINE = {"online_knn_top1": "online k-NN top-1"}  # measured while training, on fewer images
CONTROLS = {"_untrained": "untrained encoder", "_pixels": "raw pixels"}
BRANCHES = {
    "multi": "RePre (reconstruction from several taps)",
    "single": "reconstruction from the last tap alone",
    "none": "no reconstruction branch",
    "detached": "a decoder that does not train the encoder",
}
ALONE = {  # without a contrastive loss
    "multi": "reconstruction from several taps",
    "single": "reconstruction from the last tap",
}
INITIAL = ("arch", "image_size", "patch_size", "encoder_init", "positions", "freeze_patch_projection", "encoder")
ARTICLES = {"untrained encoder": "the untrained encoder"}
TILES = 3  # accuracies shown large


class Bar(NamedTuple):
    """One line below a large number; `share` of the whole bar, in [0, 1], or None for no bar."""

    name: str
    value: str
    share: float | None
    control: bool = False


def title(arms: Sequence[Arm]) -> str:
    """The title of the page."""
    recipe, images = arms[0].runs[0].recipe, _trained_on(arms[0])
    if len(arms) > 1:
        return f"{len(arms)} training recipes compared" + f" on {images}" * (
            len({_trained_on(arm) for arm in arms}) == 1
        )
    if recipe.framework == "none":
        return f"Reconstruction alone on {images}"
    return f"{recipe.framework} {'without' if recipe.reconstruction == 'none' else 'with'} reconstruction on {images}"


def kicker(arms: Sequence[Arm]) -> str:
    """Which runs, and whether they are finished."""
    runs = [run for arm in arms for run in arm.runs]
    unfinished = [run.folder.name for run in runs if not run.summary.get("finished")]
    parts = [f"{len(runs)} run" + "s" * (len(runs) > 1), *(arm.name for arm in arms)]
    return " · ".join(parts + ([f"not finished: {', '.join(unfinished)}"] if unfinished else []))


def lead(arms: Sequence[Arm]) -> str:
    """What was trained, and the first accuracy of every arm beside its controls, in one sentence."""
    recipe = arms[0].runs[0].recipe
    arch = _common(arms, lambda run: run.recipe.arch)
    framework = _common(arms, lambda run: run.recipe.framework)
    steps = _common(arms, lambda run: run.summary.get("steps") or 0)
    by = f" by {framework}" if framework not in (None, "none") else ""
    if len(arms) == 1:
        by += f" with {BRANCHES[recipe.reconstruction]}" if by else f" by {ALONE[recipe.reconstruction]}"
    length = f"to be trained{by}" if steps == 0 else f"trained{by}" + (f" for {steps} steps" if steps else "")
    what = f"{arch or 'encoders'}, {length}: "
    key = next(iter(_measured(arms)), None)
    if key is None:
        return what + "no accuracy has been measured yet; run repre-lite evaluate."
    ours = [f"{_percent(arm.values(key))}" + f" with {arm.name}" * (len(arms) > 1) for arm in arms if arm.values(key)]
    controls = [f"{bar.value} for {ARTICLES.get(bar.name, bar.name)}" for bar in _controls(arms, key)]
    against = f", against {' and '.join(controls)}" if controls else ""
    elsewhere = _common(arms, lambda run: run.summary.get("evaluated_on", "").partition(":")[0])
    on = f" on {elsewhere}" if elsewhere and key in ACCURACIES and elsewhere != _trained_on(arms[0]) else ""
    return f"{what}{(ACCURACIES | ONLINE)[key]}{on} {', '.join(ours)}{against}.{_gain(arms, key)}"


def _gain(arms: Sequence[Arm], key: str) -> str:
    """How the second of two arms differs from the first, pair by pair of runs; nothing if their images differ."""
    if len(arms) != 2 or not (gaps := arms[1].gaps(arms[0], key)) or _judged(arms) is None:
        return ""
    gap, ends = 100 * statistics.fmean(gaps.values()), [100 * end for end in (min(gaps.values()), max(gaps.values()))]
    size = f"{abs(gap):.1f} points {'higher' if gap > 0 else 'lower'}" if f"{abs(gap):.1f}" != "0.0" else "the same"
    pairs = "in one pair of runs, which decides nothing"
    if len(gaps) > 1:
        pairs = f"on average over {len(gaps)} pairs of runs, from {ends[0]:+.1f} to {ends[1]:+.1f}"
    return f" With {arms[1].name} it is {size} {pairs}."


def _common(arms: Sequence[Arm], of: Callable[[Run], Any]) -> Any:
    """The value that all runs share; None if they differ."""
    found = {of(run) for arm in arms for run in arm.runs}
    return found.pop() if len(found) == 1 else None


def _trained_on(arm: Arm) -> str:
    """What the training images of an arm are called."""
    run = arm.runs[0]
    return named(run.recipe.scale, read_json(run.folder / RECIPE).get("origin"))


def _judged(arms: Sequence[Arm]) -> str | None:
    """Which images the accuracies are of, as `evaluate` wrote it; None if not the same for all runs."""
    found: str | None = _common(arms, lambda run: run.summary.get("evaluated_on", ""))
    return found


def answer(arms: Sequence[Arm]) -> str:
    """A tile for each of the first accuracies, one for the reconstruction and one for the cost; then what the doctor says."""
    made = [_accuracy(arms, key) for key in _measured(arms)]
    made += [*_reconstruction(arms), *_likeness(arms), *_cost(arms)]
    runs = [run for arm in arms for run in arm.runs]
    said = "".join(f"<p>{text(one)}</p>" for one in _measured_on(arms)) + "".join(map(_diagnosis, runs))
    return f'<div class="tiles">{"".join(made)}</div>\n<div class="diagnosis">{said}</div>'


def _measured_on(arms: Sequence[Arm]) -> Iterator[str]:
    """Sentences: which images accuracies and probes of patches are of."""
    for key, what in (("evaluated_on", "Accuracies"), ("dense_on", "Probes of patches")):
        held = {arm.name: arm.runs[0].summary.get(key) for arm in arms}
        several = dict.fromkeys(value for value in held.values() if value)
        if len(several) == 1:
            yield f"{what}: {next(iter(several))}."
        elif several:
            listed = "; ".join(f"{name}: {value}" for name, value in held.items() if value)
            yield f"{what} are of different images and do not compare: {listed}."


def _measured(arms: Sequence[Arm]) -> list[str]:
    found = [key for key in ACCURACIES if any(arm.values(key) for arm in arms)]
    return found[:TILES] or [key for key in ONLINE if any(arm.values(key) for arm in arms)]


def _percent(values: dict[int, float]) -> str:
    spread = f" ± {100 * statistics.stdev(values.values()):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values.values()):.1f}{spread} %"


def _controls(arms: Sequence[Arm], key: str) -> Iterator[Bar]:
    """Each control: the mean over all runs that have it, of the same initial encoder and images."""
    for suffix, name in CONTROLS.items():
        held: dict[str, list[tuple[Arm, float]]] = {}
        for arm in arms:
            same = repr(_untrained(arm) if suffix == "_untrained" else None) + arm.runs[0].summary.get(
                "evaluated_on", ""
            )
            held.setdefault(same, []).extend((arm, value) for value in arm.values(key + suffix).values())
        groups = [found for found in held.values() if found]
        archs = [found[0][0].runs[0].recipe.arch for found in groups]
        for arch, found in zip(archs, groups, strict=True):
            mean = statistics.fmean(value for _, value in found)
            of = arch if len(set(archs)) == len(archs) else " and ".join(dict.fromkeys(arm.short for arm, _ in found))
            yield Bar(f"{name}, {of}" if len(groups) > 1 else name, f"{100 * mean:.1f} %", mean, True)


def _untrained(arm: Arm) -> tuple[object, ...]:
    """The settings, apart from the seed, that decide which encoder the runs of an arm start from."""
    return tuple(getattr(arm.runs[0].recipe, name) for name in INITIAL)


def _accuracy(arms: Sequence[Arm], key: str) -> str:
    held = [(arm, arm.values(key)) for arm in arms if arm.values(key)]
    bars = [Bar(_name(arms, arm), _percent(values), statistics.fmean(values.values())) for arm, values in held]
    name, best = (ACCURACIES | ONLINE)[key], max(bars, key=lambda bar: bar.share or 0)
    alone = sum(bar.value.split()[0] == best.value.split()[0] for bar in bars) == 1
    what = "" if len(bars) == 1 else f"highest: {best.name}" if alone else "the highest of several"
    number, unit = best.value.rsplit(" ", 1)
    return _tile(name, number, unit, what, [*bars, *_controls(arms, key)])


def _name(arms: Sequence[Arm], arm: Arm) -> str:
    return (
        "this run" if len(arms) == 1 and len(arm.runs) == 1 else f"{len(arm.runs)} runs" if len(arms) == 1 else arm.name
    )


def _reconstruction(arms: Sequence[Arm]) -> Iterator[str]:
    held = [(arm.mean("reconstruction_l1"), arm) for arm in arms if arm.values("reconstruction_l1")]
    if held:
        l1, best = min(held, key=lambda pair: pair[0])
        bars = [Bar(_name(arms, arm), f"{value:.3f}", None) for value, arm in held] if len(held) > 1 else []
        what = "mean absolute error per pixel, for pixels in [0, 1], last batch"
        what += f"; {best.mean('reconstruction_psnr'):.1f} dB" if best.values("reconstruction_psnr") else ""
        yield _tile("reconstruction", f"{l1:.3f}", "", what, bars)


def _likeness(arms: Sequence[Arm]) -> Iterator[str]:
    held = [(_name(arms, arm), arm.mean("patch_cosine"), False) for arm in arms if arm.values("patch_cosine")]
    if held:
        lowest = min(value for _, value, _ in held)
        control = next((arm for arm in arms if arm.values("patch_cosine_untrained")), None)
        if control is not None:
            held.append(("untrained encoder", control.mean("patch_cosine_untrained"), True))
        bars = [Bar(name, f"{value:.2f}", max(0.0, value), grey) for name, value, grey in held]
        what = "mean cosine of two patches at the last tap; 1: all alike"
        yield _tile("patch similarity", f"{lowest:.2f}", "", what, bars)


def _cost(arms: Sequence[Arm]) -> Iterator[str]:
    runs = [run for arm in arms for run in arm.runs]
    seconds = [run.summary["wall_seconds"] for run in runs if run.summary.get("wall_seconds") is not None]
    if seconds:
        number, unit = next(
            (sum(seconds) / size, unit)
            for size, unit in ((3600, "h"), (60, "min"), (1, "s"))
            if sum(seconds) >= size or size == 1
        )
        where = ", ".join(dict.fromkeys(_hardware(run) for run in runs))
        speed = [run.summary["images_per_second"] for run in runs if run.summary.get("images_per_second") is not None]
        what = f"on {where}" + (f", {statistics.fmean(speed):.0f} images per second" if speed else "")
        yield _tile(
            "training time" + " of all runs" * (len(runs) > 1),
            f"{number:.2g}" if number < 10 else f"{number:.0f}",
            unit,
            what,
            [],
        )


def _hardware(run: Run) -> str:
    return str(read_json(run.folder / RECIPE).get("hardware") or "unknown hardware")


def _tile(name: str, number: str, unit: str, what: str, bars: Sequence[Bar]) -> str:
    lines = "".join(
        f"<li{' class=control' if bar.control else ''}><span>{text(bar.name)}</span><b>{text(bar.value)}</b>"
        + (f'<i style="--share:{min(1.0, bar.share):.3f}"></i>' if bar.share is not None else "")
        + "</li>"
        for bar in bars
    )
    return (
        f'<figure class="tile"><figcaption>{text(name)}</figcaption><p class="big">{text(number)}<small> {text(unit)}</small></p>'
        f'<p class="what">{text(what)}</p><ul class="bars">{lines}</ul></figure>'
    )


def _diagnosis(run: Run) -> str:
    """What the run's metrics show, in sentences."""
    try:
        said = ". ".join(map(str, examine(run)))
    except UserError:
        said = "nothing was logged" if run.summary.get("finished") else "nothing has been logged yet"
    return f"<p>{text(run.folder.name)}: {text(said)}.</p>"
