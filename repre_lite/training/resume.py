"""Whether a folder holds a run that can be resumed, and resuming it exactly or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..recipes import HOW, Recipe, identity
from ..runs import CHECKPOINT, FOREIGN, METRICS, RECIPE, contents, misfit, read_checkpoint, read_json, read_recipe
from ..runtime import distributed, files
from ..runtime.errors import UserError
from ..runtime.progress import say
from .facts import SURROUNDINGS, facts
from .loop import Training


def inspect(recipe: Recipe, out: Path) -> int:
    """What a folder holds: NOTHING, or an UNFINISHED or FINISHED run of this recipe.

    Raises UserError for other files, a run of another recipe or version, and damaged files.
    """

    def held() -> dict[str, Any]:
        if "task" in read_json(out / RECIPE):
            raise UserError(f"out={out}: holds a run of transfer; choose an empty or new folder")
        return identity(read_recipe(out)[0])

    return contents(out, identity(recipe), held)


def resume(training: Training, out: Path, quiet: bool = False) -> None:
    """Continue `training` where the run in `out` was interrupted: at its checkpoint, or at its start if there is none.

    Mean, std and length stay those the run began with. Raises UserError if the images are not those it began with, or if
    the checkpoint is not one of this run.
    """
    held, here = read_recipe(out)[1], facts(training)
    check_images(held, here, out)
    training.adopt(held["mean"], held["std"], held["total_steps"])
    if (out / CHECKPOINT).exists():
        load(training, out / CHECKPOINT, held)
    changed = {name: here[name] for name in SURROUNDINGS if held.get(name) != here[name]}
    if changed:
        before = ", ".join(f"{name} {_short(held.get(name), here[name])}" for name in changed)
        say(f"{out}: this run was started with {before}; the results may differ slightly", quiet)
    if distributed.is_main():
        files.truncate_jsonl(out / METRICS, lambda record: record.get("step", training.step + 1) <= training.step)
        note = {"resumed": [*held.get("resumed", []), {"step": training.step} | changed]} if changed else {}
        files.write_json(out / RECIPE, held | {name: here[name] for name in HOW} | note)
    if training.step:
        say(f"{out}: resuming at step {training.step} of {training.total_steps}", quiet)


def check_images(held: dict[str, Any], here: dict[str, Any], out: Path) -> None:
    """Raise UserError if the images of two sets of facts, of the run in `out` and of now, are not the same."""
    if held["fingerprint"] == here["fingerprint"]:
        return
    counts = f"{held['image_count']} then, {here['image_count']} now"
    raise UserError(
        f"out={out}: the images changed since this run began ({counts}), so it cannot be resumed; restore them, with "
        "their names and times, or choose another folder"
    )


def load(training: Training, path: Path, held: dict[str, Any]) -> None:
    """Load a state of the run whose recipe.json contains `held`. Raises UserError if it is not one of this run."""
    state = read_checkpoint(path, identity(training.recipe))
    try:
        training.load(state)
    except FOREIGN:
        raise misfit(path, held) from None
    if training.step > training.total_steps:
        raise UserError(
            f"{path}: is at step {training.step}, beyond the {training.total_steps} steps of this run; "
            "restore the checkpoint of this run, or choose another folder"
        )


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with an absolute `data`, so that its run can be opened from any directory."""
    return recipe if recipe.data is None else dataclasses.replace(recipe, data=str(Path(recipe.data).absolute()))


def _short(before: Any, now: Any) -> Any:
    """Of two versions tables only what differs."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before
    return ", ".join(f"{name} {value}" for name, value in before.items() if now.get(name) != value)
