"""Training into a run folder: resume, progress, metrics, checkpoints, and a clean end after errors and signals."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import torch

from ..data.workers import watched
from ..evaluation.doctor import EARLY, HEALTHY, SLOW, diagnose
from ..evaluation.features import extract_shared
from ..evaluation.knn import knn_top1
from ..evaluation.results import restart
from ..evaluation.score import unfit
from ..recipes import Recipe
from ..runs import (
    CHECKPOINT,
    ENCODER,
    FINISHED,
    METRICS,
    NONFINITE,
    NOTHING,
    RECIPE,
    SNAPSHOTS,
    SUMMARY,
    UNFINISHED,
    Run,
    load_run,
    merge_summary,
    read_json,
)
from ..runs import save_networks as save
from ..runtime import distributed, files
from ..runtime.errors import NonFiniteError, Stopped
from ..runtime.lock import locked
from ..runtime.memory import enough_memory
from ..runtime.progress import Progress, say
from ..runtime.stopping import agreed, collected_signals, steps_between
from .facts import facts, summary
from .loop import Training, steps
from .nonfinite import Rewind
from .resume import inspect, resolved, resume
from .step import Step

KNN_TRAIN, KNN_VAL = 2_000, 1_000  # images of the online k-NN


def train(recipe: Recipe, out: str | Path, quiet: bool = False) -> Run:
    """Train by `recipe` into the folder `out` and return the finished run.

    An unfinished run of the same recipe in `out` is resumed; a finished one is returned as it is. Nothing is written
    before images and model are ready. Raises UserError if `out` holds another run or other files or is in use by another
    process, and Stopped after SIGINT or SIGTERM, when everything is saved.
    """
    recipe, out = resolved(recipe), Path(out)
    if inspect(recipe, out) == FINISHED:
        held = read_json(out / RECIPE).get("data")
        other = f", on the images of {held}" * (held != recipe.data)
        say(f"{out}: this run is finished{other}; nothing to do", quiet)
        return load_run(out)
    with contextlib.ExitStack() as stack, enough_memory(), watched():
        mine = distributed.is_main() and out.is_dir()
        if mine:
            stack.enter_context(locked(out))
        training = Training(recipe)
        if (reason := unfit(training.source)) is not None:
            say(f"{reason}, so k-NN is skipped", quiet)
        found = NOTHING
        if distributed.is_main():
            if not mine:  # by now another process may have made the folder
                stack.enter_context(locked(files.create(out)))
            files.sweep(out)
            found = inspect(recipe, out)  # again: another process may have had the lock
            if found == NOTHING:
                files.write_json(out / RECIPE, facts(training))
        found = distributed.from_main(found, training.device)
        if found == UNFINISHED:
            resume(training, out, quiet)
        if found != FINISHED:
            _run(training, out, quiet)
    return load_run(out)


def snapshot_steps(total: int, count: int) -> set[int]:
    """The steps after which a snapshot is kept: `count` of them, close together at first, where most changes; the last too.

    The i-th follows step `total` (i / `count`)^3, or step i if that is later.
    """
    return {max(i, round(total * (i / count) ** 3)) for i in range(1, count + 1)}


def knn_is_due(step: int, total: int, log_every: int) -> bool:
    """Whether online k-NN is measured at a logged step: ten times a run, no oftener than every 200 steps, and at its end."""
    every = max(200, total // 10)
    return step == total or step // every > max(0, step - log_every) // every


def _run(training: Training, out: Path, quiet: bool) -> None:
    rewind = Rewind(training)
    try:
        _loop(training, rewind, out, quiet)
    except NonFiniteError:
        first = rewind.save(out / NONFINITE)
        if first is None:
            raise
        place = f"{out / NONFINITE} holds the state before step {first.step}"
        raise NonFiniteError(f"{first}. {place}", first.step) from None


def _loop(training: Training, rewind: Rewind, out: Path, quiet: bool) -> None:
    recipe, total = training.recipe, training.total_steps
    every = recipe.checkpoint_every or max(50, total // 20)
    snapshots = snapshot_steps(total, recipe.snapshots)
    before = read_json(out / SUMMARY) if (out / SUMMARY).exists() else {}
    began = time.perf_counter() - before.get("wall_seconds", 0.0)
    since, start = training.step, time.perf_counter()
    records, held = (files.read_jsonl(out / METRICS), read_json(out / RECIPE)) if distributed.is_main() else ([], {})
    said = {EARLY, HEALTHY}
    logged: Step | None = None
    online: float | None = None
    pace = 1
    with collected_signals() as received, Progress(total, "step", initial=training.step, quiet=quiet) as bar:
        for losses, views in steps(training):
            step = training.step
            if training.logs():
                rate = (step - since) * recipe.batch_size / (time.perf_counter() - start)
                logged = training.report(losses, views, rate)
                pace = steps_between(rate / recipe.batch_size, training.device)
                rewind.keep()
                record = logged.record()
                if knn_is_due(step, total, training.log_every):
                    online = online_knn(training)
                    record["online_knn_top1"] = online
                if distributed.is_main():
                    files.append_jsonl(out / METRICS, record)
                    records.append(files.finite(record))
                    _warn(bar, records, held, said)
                _show(bar, logged, online)
                since, start = step, time.perf_counter()
            bar.update()
            if step in snapshots:
                training.check_finite()
                if distributed.is_main():
                    save(training.model, recipe, files.create(out / SNAPSHOTS / f"step-{step:07d}"))
            stop = _agreed(received, training, pace)
            if step < total and (step % every == 0 or stop):
                _save(training, out, time.perf_counter() - began)
            if stop and step < total:
                raise Stopped(f"stopped at step {step} of {total} and saved; resume by running the same command", stop)
    _finish(training, out, logged, online, time.perf_counter() - began)


@torch.no_grad()
def online_knn(training: Training) -> float | None:
    """k-NN top-1 of the evaluated encoder on a few thousand images; None if they have no labels, or only one class.

    Raises NonFiniteError if the features are not finite.
    """
    source, encoder = training.source, training.model.framework.evaluated
    if unfit(source) is not None:
        return None
    assert source.labelled is not None and source.val is not None
    train, val = source.labelled.subset(KNN_TRAIN), source.val.subset(KNN_VAL)
    x, x_val = (extract_shared(encoder, part.images, source.mean, source.std) for part in (train, val))
    if not (x.isfinite().all() and x_val.isfinite().all()):
        raise NonFiniteError.after(training.step, "the features are")
    assert train.labels is not None and val.labels is not None
    return knn_top1(x, train.labels, x_val, val.labels)


def _save(training: Training, out: Path, wall_seconds: float) -> None:
    state = training.state()
    if distributed.is_main():
        files.save_checkpoint(out / CHECKPOINT, state)
        restart(out, {"steps": training.step, "finished": False, "wall_seconds": round(wall_seconds, 1)})


def _finish(training: Training, out: Path, logged: Step | None, online: float | None, wall_seconds: float) -> None:
    """Write the results; the last checkpoint comes after them, so a run that has it has everything else."""
    state = training.state()
    results = {} if logged is None else summary(training, logged, online, wall_seconds)
    if distributed.is_main():
        if results:
            save(training.model, training.recipe, out)
            restart(out, results | {"finished": False})
            files.save_checkpoint(out / CHECKPOINT, state)
        elif not (out / ENCODER).exists():
            save(training.model, training.recipe, out)
        merge_summary(out, {"steps": training.step, "finished": True})
    distributed.barrier()


def _show(bar: Progress, logged: Step, online: float | None) -> None:
    shown = {"loss": logged.losses["contrastive"], "L1": logged.losses["reconstruction"], "online k-NN": online}
    text = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
    bar.show(text | {"images/s": f"{logged.images_per_second:.0f}"})


def _warn(bar: Progress, records: list[dict[str, Any]], held: dict[str, Any], said: set[str]) -> None:
    """Write what the metrics show and was not `said` before; what shows slowly only after a third of the run."""
    step = records[-1]["step"]
    for finding in diagnose(records, held):
        if finding.kind not in said and not (finding.kind in SLOW and step < held["total_steps"] / 3):
            said.add(finding.kind)
            bar.write(f"step {step}: {finding}")


def _agreed(received: list[int], training: Training, pace: int) -> int:
    """The signal to stop for, or 0; several processes agree at logged steps and every `pace` steps."""
    return agreed(received, training.device, training.logs() or training.step % pace == 0)
