"""What `evaluate` enters into a run's summary.json: numbers of one encoder on one set of images, never mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.image_set import Source
from ..data.naming import named
from ..runs import RECIPE, SUMMARY, read_json
from ..runtime import files
from ..runtime.progress import say

DENSE = "dense.json"  # all that the dense probes found
ON, FINGERPRINT = "evaluated_on", "evaluated_fingerprint"
ELSEWHERE = "evaluated_elsewhere"  # accuracies on other images, a dict for each set
ACCURACIES = ("knn_", "linear_", "finetune_")  # how the names of what `ON` speaks of begin


def evaluated_on(source: Source) -> str:
    """Which images accuracies are of, for summary.json."""
    counts = [0 if part is None else len(part) for part in (source.labelled, source.val)]
    return f"{named(source.name, source.origin)}: {counts[1]} validation images by {counts[0]} training images"


def images_of(source: Source) -> dict[str, str]:
    """What goes with every accuracy on the images of `source`."""
    return {ON: evaluated_on(source), FINGERPRINT: source.fingerprint}


def restart(run: Path, values: dict[str, Any]) -> None:
    """Make `values` the whole summary of a run that has trained on: what was measured before is of another encoder."""
    files.write_json(run / SUMMARY, values)
    (run / DENSE).unlink(missing_ok=True)


def enter(run: Path, found: dict[str, Any], steps: int | None) -> bool:
    """Enter what was `found` of the encoder after `steps` steps into the summary of its run, and return whether it was.

    If accuracies are of other images than those that are there, the latter move to "evaluated_elsewhere", and what that
    holds of the same images comes back. Nothing is written if the run has gone on meanwhile.
    """
    held = read_json(run / SUMMARY) if (run / SUMMARY).exists() else {}
    if held.get("steps") != steps:
        say(f"{run}: went on training meanwhile, so the results, of step {steps}, are only printed")
        return False
    if ON in found and _others(run, held, found):
        before = {name: held.pop(name) for name in [*held] if name in (ON, FINGERPRINT) or name.startswith(ACCURACIES)}
        rest: list[dict[str, Any]] = held.pop(ELSEWHERE, [])
        back = next((one for one in rest if _same(one, found)), {})
        held |= back | {ELSEWHERE: [*(one for one in rest if one is not back), before]}
        where = before.get(ON, "the images of the run")
        say(f"{run / SUMMARY}: the accuracies on {where} are now in {ELSEWHERE}")
    files.write_json(run / SUMMARY, held | found)
    return True


def _others(run: Path, held: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether the summary holds accuracies on other images. Without a note they are of the images of the run."""
    if not any(name.startswith(ACCURACIES) for name in held):
        return False
    if ON not in held:
        return bool(read_json(run / RECIPE).get("fingerprint") != found[FINGERPRINT])
    return not _same(held, found)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sets of accuracies are of the same images."""
    return bool(one.get(ON) == other[ON] and one.get(FINGERPRINT, other[FINGERPRINT]) == other[FINGERPRINT])
