"""Training into a run folder: resume, bar, metrics, checkpoints, a clean end whatever happens."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..data.workers import watched
from ..evaluation.collapse import advice
from ..evaluation.features import extract_shared
from ..evaluation.knn import knn_top1
from ..recipes import HOW, Recipe, from_dict, identity
from ..runs import CHECKPOINT, METRICS, RECIPE, SUMMARY, Run, load_run, merge_summary, read_json, save_networks
from ..runtime import distributed, files
from ..runtime.device import describe_device
from ..runtime.errors import UserError
from ..runtime.progress import Progress, say
from ..runtime.provenance import versions
from .loop import Step, Training, steps

KNN_TRAIN, KNN_VAL = 2_000, 1_000  # the online k-NN looks at so many pictures


class Stopped(Exception):  # noqa: N818 (not an error)
    """SIGINT or SIGTERM came; the run is saved and the same command goes on. `signum` is which."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


def train(recipe: Recipe, out: str | Path, quiet: bool = False) -> Run:
    """Train by `recipe` into the folder `out` and return the finished run.

    Goes on by itself where `out` holds an unfinished run of the same recipe, says so and returns it where it is
    finished, raises UserError where it holds another run or other files. Nothing is written before the data and the
    model stand. Raises Stopped after SIGINT or SIGTERM, with everything saved.
    """
    out = Path(out)
    previous = _inspect(recipe, out)
    if previous == "finished":
        say(f"{out}: this run is finished; nothing to do", quiet)
        return load_run(out)
    training = Training(recipe)
    if training.source.labelled is None or training.source.val is None:
        say("no labelled val/ pictures, so k-NN is skipped", quiet)
    if previous == "unfinished":
        _resume(training, out, quiet)
    elif distributed.is_main():
        _create(out)
        files.write_json(out / RECIPE, _resolved(training))
    distributed.barrier()
    with watched():
        _run(training, out, quiet)
    return load_run(out)


def _run(training: Training, out: Path, quiet: bool) -> None:
    recipe, total = training.recipe, training.total_steps
    every = recipe.checkpoint_every or max(50, total // 20)
    snapshots = {round(total * (i + 1) / recipe.snapshots) for i in range(recipe.snapshots)}
    knn_every = max(50, total // 10)
    before = read_json(out / SUMMARY) if (out / SUMMARY).exists() else {}
    wall, since, start, warned = before.get("wall_seconds", 0.0), training.step, time.perf_counter(), False
    began = start
    logged: Step | None = None
    online: float | None = None
    with _signals() as received, Progress(total, "step", initial=training.step, quiet=quiet) as bar:
        for losses, views in steps(training):
            step = training.step
            if training.logs():
                rate = (step - since) * recipe.batch_size / (time.perf_counter() - start)
                logged = training.report(losses, views, rate)
                record = logged.record()
                if step % knn_every == 0 or step == total:
                    online = online_knn(training)
                    record["online_knn_top1"] = online
                if distributed.is_main():
                    files.append_jsonl(out / METRICS, record)
                _show(bar, logged, online)
                warning = advice(logged.gauges, recipe.batch_size)
                if warning and not warned and step > total // 10:
                    warned = True
                    watch = training.model.framework.watch
                    bar.write(f"step {step}: {warning}. {recipe.framework}: {watch}")
                since, start = step, time.perf_counter()
            bar.update()
            if step in snapshots and distributed.is_main():
                save_networks(training.model, recipe, _folder(out / "snapshots" / f"step-{step:07d}"))
            stop = _agreed(received, training)
            if step % every == 0 or step == total or stop:
                _save(training, out, wall + time.perf_counter() - began)
            if stop and step < total:
                raise Stopped(f"stopped at step {step} of {total} and saved; the same command goes on", stop)
    if distributed.is_main() and logged is not None:
        save_networks(training.model, recipe, out)
        merge_summary(out, _summary(training, logged, online, wall + time.perf_counter() - began))
    distributed.barrier()


@torch.no_grad()
def online_knn(training: Training) -> float | None:
    """k-NN top-1 of the evaluated encoder on a few thousand pictures, or None without labelled validation pictures."""
    source, encoder = training.source, training.model.framework.evaluated
    if source.labelled is None or source.val is None:
        return None
    train, val = source.labelled.subset(KNN_TRAIN), source.val.subset(KNN_VAL)
    x, x_val = (extract_shared(encoder, part.images, source.mean, source.std) for part in (train, val))
    assert train.labels is not None and val.labels is not None
    return knn_top1(x, train.labels, x_val, val.labels)


def _inspect(recipe: Recipe, out: Path) -> str:
    """What the folder holds: "nothing", or an "unfinished" or "finished" run of this recipe; else UserError."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is in the way; choose another folder")
    if not out.exists() or not any(out.iterdir()):
        return "nothing"
    if not (out / RECIPE).exists():
        raise UserError(f"--out {out}: holds other files and no run; choose an empty or new folder")
    held = identity(from_dict(read_json(out / RECIPE)))
    wanted = json.loads(json.dumps(identity(recipe)))
    different = [name for name in wanted if wanted[name] != held.get(name)]
    if different:
        name = different[0]
        raise UserError(
            f"--out {out}: holds a run of another recipe ({name} is {held.get(name)!r} there, {wanted[name]!r} here); "
            "choose another folder"
        )
    finished = (out / SUMMARY).exists() and read_json(out / SUMMARY).get("finished", False)
    return "finished" if finished else "unfinished"


def _resume(training: Training, out: Path, quiet: bool) -> None:
    if distributed.is_main():
        files.sweep(out)
    checkpoint = out / CHECKPOINT
    if not checkpoint.exists():
        if distributed.is_main() and (out / METRICS).exists():
            files.truncate_jsonl(out / METRICS, lambda record: False)
        return
    held, here = read_json(out / RECIPE), _resolved(training)
    for name in ("versions", "hardware", "threads", "processes", "fingerprint", "images"):
        if held.get(name) != here[name]:
            say(f"{out}: {name} differ from when this run began, so its numbers may differ slightly", quiet)
    state = files.load_checkpoint(checkpoint)
    try:
        training.load(state)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError):  # whatever a foreign file holds
        raise UserError(f"{checkpoint}: not a checkpoint of this run; remove it to start the run afresh") from None
    if distributed.is_main():
        files.truncate_jsonl(out / METRICS, lambda record: record["step"] <= training.step)
    say(f"{out}: going on from step {training.step} of {training.total_steps}", quiet)


def _save(training: Training, out: Path, wall_seconds: float) -> None:
    state = training.state()
    if distributed.is_main():
        files.save_checkpoint(out / CHECKPOINT, state)
        merge_summary(out, {"steps": training.step, "finished": False, "wall_seconds": round(wall_seconds, 1)})


def _summary(training: Training, logged: Step, online: float | None, wall_seconds: float) -> dict[str, Any]:
    l1 = logged.losses["reconstruction"]
    psnr = None
    if logged.reconstructed is not None:
        error = (logged.reconstructed.detach().float().clamp(0, 1) - logged.views[0].float()).square().mean()
        psnr = float(-10 * torch.log10(error))
    cuda = training.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else _resident_bytes()
    return {
        "steps": training.step,
        "finished": True,
        "images_per_second": round(training.step * training.recipe.batch_size / wall_seconds, 1),
        "wall_seconds": round(wall_seconds, 1),
        "peak_memory_bytes": int(peak),
        "loss": logged.losses["total"],
        "contrastive": logged.losses["contrastive"],
        "reconstruction_l1": l1,
        "reconstruction_psnr": psnr,
        "online_knn_top1": online,
        "skipped_pictures": training.source.skipped,
    }


def _resolved(training: Training) -> dict[str, Any]:
    """recipe.json: the recipe and everything else that decides what comes out."""
    return dataclasses.asdict(training.recipe) | {
        "total_steps": training.total_steps,
        "pictures": len(training.source.train),
        "classes": list(training.source.train.classes),
        "fingerprint": training.source.fingerprint,
        "mean": list(training.source.mean),
        "std": list(training.source.std),
        "precision_used": training.precision.name,
        "hardware": describe_device(training.device),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "versions": versions(),
        "git_commit": _git_commit(),
        "how": list(HOW),
    }


def _git_commit() -> str | None:
    try:
        command = ["git", "rev-parse", "HEAD"]
        here = Path(__file__).parent
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _resident_bytes() -> int:
    """The most memory this process has held; 0 on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: {error.strerror}; choose a folder you may write to") from None


def _folder(path: Path) -> Path:
    _create(path)
    return path


def _show(bar: Progress, logged: Step, online: float | None) -> None:
    shown = {"loss": logged.losses["contrastive"], "L1": logged.losses["reconstruction"], "k-NN": online}
    text = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
    bar.show(text | {"images/s": f"{logged.images_per_second:.0f}"})


def _agreed(received: list[int], training: Training) -> int:
    """The signal to stop for, if any. Several processes must stop at the same step, so they ask each other when logging."""
    if distributed.world_size() == 1:
        return received[0] if received else 0
    if not training.logs():
        return 0
    mine = torch.tensor(float(received[0]) if received else 0.0, device=training.device)
    return int(distributed.all_sum(mine)) and (received[0] if received else int(signal.SIGTERM))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them, where the main thread allows it."""
    received: list[int] = []
    held = {}
    for signum in (signal.SIGINT, signal.SIGTERM):
        try:
            held[signum] = signal.signal(signum, lambda number, frame: received.append(number))
        except ValueError:  # not the main thread: signals stay as they are
            break
    try:
        yield received
    finally:
        for signum, handler in held.items():
            signal.signal(signum, handler)
