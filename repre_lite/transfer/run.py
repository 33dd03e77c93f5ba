"""Transfer into a run folder: resume, progress, metrics, checkpoints, scores, predictions beside the truth."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..data.workers import watched
from ..runs import (
    CHECKPOINT,
    FINISHED,
    FOREIGN,
    METRICS,
    NOTHING,
    RECIPE,
    SUMMARY,
    UNFINISHED,
    contents,
    merge_summary,
    misfit,
    plain_tensors,
    read_checkpoint,
    read_json,
)
from ..runtime import distributed, files
from ..runtime.device import describe_device
from ..runtime.errors import Stopped, UserError
from ..runtime.lock import locked
from ..runtime.memory import enough_memory, peak_memory
from ..runtime.progress import Progress, say
from ..runtime.provenance import git_commit, versions
from ..runtime.stopping import agreed, collected_signals, steps_between
from .loop import Transfer
from .settings import HOW, NEVER_RUN, TransferRecipe, identity

MODEL = "model.safetensors"
CONTROL = "control"  # the folder of the untrained encoder's run
REMEDY = "try a smaller batch_size=, crop= or short_side=, frozen=True or, on a GPU, precision='bf16' or 'fp16'"


def transfer(recipe: TransferRecipe, out: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Learn a task by `recipe` into the folder `out` and return the contents of its summary.json.

    An unfinished run of the same recipe in `out` is resumed; of a finished one the summary is returned. With `control`
    the untrained encoder learns the same in `out`/control, and its scores are entered with the suffix _untrained. Raises
    UserError for broken annotations and settings that do not fit before anything is written, and Stopped after SIGINT or
    SIGTERM, when everything is saved.
    """
    out = Path(out)
    if recipe.data is not None:
        recipe = dataclasses.replace(recipe, data=str(Path(recipe.data).absolute()))
    summary = _one(recipe, out, quiet, untrained=False)
    if recipe.control:
        control = _one(dataclasses.replace(recipe, control=False), out / CONTROL, quiet, untrained=True)
        scores = {f"{name}_untrained": control[name] for name in _scores(control)}
        if distributed.is_main():
            merge_summary(out, scores)
        summary |= scores
    return summary


def _one(recipe: TransferRecipe, out: Path, quiet: bool, untrained: bool) -> dict[str, Any]:
    with contextlib.ExitStack() as stack, enough_memory(REMEDY), watched():
        mine = distributed.is_main() and out.is_dir()
        if mine:
            stack.enter_context(locked(out))
        run = Transfer(recipe, untrained)
        found = NOTHING
        if distributed.is_main():
            wanted = identity(run.recipe)
            found = contents(out, wanted, lambda: _settings(out))
            if not mine:  # by now another process may have made the folder
                stack.enter_context(locked(files.create(out)))
                found = contents(out, wanted, lambda: _settings(out))
            files.sweep(out)
            if found == NOTHING:
                files.write_json(out / RECIPE, facts(run, untrained))
        found = distributed.from_main(found, run.device)
        if found in (FINISHED, UNFINISHED):
            _check_same(run, out)
        if found == FINISHED:
            say(f"{out}: this run is finished; nothing to do", quiet)
        else:
            if found == UNFINISHED:
                _resume(run, out, quiet)
            if recipe.scale in NEVER_RUN:
                say(f"{recipe.scale}: the published schedule, which nobody has run with this code yet", quiet)
            _loop(run, out, quiet)
    return read_json(out / SUMMARY)


def facts(run: Transfer, untrained: bool) -> dict[str, Any]:
    """The contents of recipe.json: the settings and everything else that decides the result. `task` says what kind of run."""
    task = run.task
    return dataclasses.asdict(run.recipe) | {
        "untrained": untrained,
        "image_count": task.count,
        "classes": list(task.classes),
        "fingerprint": task.fingerprint,
        "encoder_fingerprint": run.encoder_fingerprint,
        "mean": list(task.mean),
        "std": list(task.std),
        "precision_used": run.precision.name,
        "hardware": describe_device(run.device),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "versions": versions(),
        "git_commit": git_commit(),
        "how": list(HOW),
    }


def _settings(out: Path) -> dict[str, Any]:
    """The settings of the transfer run in a folder that decide what it computes."""
    held = read_json(out / RECIPE)
    if "task" not in held:
        raise UserError(f"out={out}: holds a run of pre-training; choose an empty or new folder")
    return {name: held.get(name) for name in held if name in _NAMES and name not in HOW}


_NAMES = {field.name for field in dataclasses.fields(TransferRecipe)}


def _check_same(run: Transfer, out: Path) -> None:
    """Raise UserError if images or encoder are not those the run in `out` began with."""
    held = read_json(out / RECIPE)
    here = facts(run, held.get("untrained", False))
    for name, what in (("fingerprint", "images or annotations"), ("encoder_fingerprint", "encoder")):
        if held.get(name) != here[name]:
            raise UserError(f"out={out}: the {what} changed since this run began; choose another folder")


def _resume(run: Transfer, out: Path, quiet: bool) -> None:
    """Continue at the checkpoint in `out`."""
    path = out / CHECKPOINT
    if path.exists():
        state = read_checkpoint(path, identity(run.recipe))
        try:
            run.load(state)
        except FOREIGN:
            raise misfit(path, read_json(out / RECIPE)) from None
    if distributed.is_main():
        files.truncate_jsonl(out / METRICS, lambda record: record.get("step", run.step + 1) <= run.step)
    if run.step:
        say(f"{out}: resuming at step {run.step} of {run.recipe.steps}", quiet)


def _loop(run: Transfer, out: Path, quiet: bool) -> None:
    recipe, total = run.recipe, run.recipe.steps
    every = recipe.checkpoint_every or max(50, total // 10)
    before = read_json(out / SUMMARY) if (out / SUMMARY).exists() else {}
    began = time.perf_counter() - before.get("wall_seconds", 0.0)
    since, start = run.step, time.perf_counter()
    pace = 1
    with collected_signals() as received, Progress(total, "step", initial=run.step, quiet=quiet) as bar:
        for losses in run.steps():
            if run.logs():
                numbers = run.report(losses)
                rate = (run.step - since) * recipe.batch_size / (time.perf_counter() - start)
                pace = steps_between(rate / recipe.batch_size, run.device)
                epoch = (run.step - 1) // run.task.batches.steps_per_epoch
                lr = run.optimiser.param_groups[0]["lr"] / run.optimiser.param_groups[0]["factor"]
                record = {"step": run.step, "epoch": epoch, **numbers, "lr": lr, "images_per_second": rate}
                if distributed.is_main():
                    files.append_jsonl(out / METRICS, record)
                bar.show({"loss": f"{numbers['loss']:.3f}", "images/s": f"{rate:.1f}"})
                since, start = run.step, time.perf_counter()
            bar.update()
            stop = agreed(received, run.device, run.logs() or run.step % pace == 0) if run.step < total else 0
            if run.step == total or run.step % every == 0 or stop:
                _save(run, out, time.perf_counter() - began)
            if stop:
                raise Stopped(
                    f"stopped at step {run.step} of {total} and saved; resume by running the same command", stop
                )
    _finish(run, out, time.perf_counter() - began, quiet)


def _save(run: Transfer, out: Path, wall_seconds: float) -> None:
    state = run.state()
    if distributed.is_main():
        files.save_checkpoint(out / CHECKPOINT, state)
        merge_summary(out, {"steps": run.step, "finished": False, "wall_seconds": round(wall_seconds, 1)})


def _finish(run: Transfer, out: Path, wall_seconds: float, quiet: bool) -> None:
    """Score the model, draw predictions, write weights and results; `finished` comes last."""
    run.model.eval()
    scores = run.task.evaluate(run.device, run.precision, quiet)
    if distributed.is_main():
        run.task.draw(run.device, files.create(out / "figures"))
        metadata = {"task": run.recipe.task, "classes": "\n".join(run.task.classes)}
        files.save_tensors(out / MODEL, plain_tensors(run.model), metadata)
        results = {
            "steps": run.step,
            "wall_seconds": round(wall_seconds, 1),
            "peak_memory_bytes": peak_memory(run.device),
            **{name: round(value, 5) if isinstance(value, float) else value for name, value in scores.items()},
        }
        merge_summary(out, results)
        merge_summary(out, {"finished": True})
    distributed.barrier()


def _scores(summary: Mapping[str, Any]) -> list[str]:
    """The names of the scores in a summary."""
    return [name for name in ("miou", "macc", "boundary_iou", "box_map", "box_map50", "mask_map") if name in summary]
