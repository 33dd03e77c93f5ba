"""What the scripts that train many small runs share: held-out images, one run and its figures, a table that is resumed.

A cell is one run. A table is a JSON file with a head (where its numbers come from, what was measured) and `cells`; it is
written after every cell, and cells that are in it are not computed again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import load_source
from repre_lite.encoder import TappedEncoder
from repre_lite.evaluation import at_size, extract, knn_top1, linear_top1
from repre_lite.evaluation.chart import Chart
from repre_lite.evaluation.symptoms import collapsed
from repre_lite.recipes import Recipe
from repre_lite.reproduce import statistics
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.files import write_json
from repre_lite.runtime.provenance import provenance
from repre_lite.training.loop import Training, steps

SIZE = 32  # pixels


@dataclass(frozen=True)
class Images:
    """Which images: `train` of a scale to train on. `held` others of its training images are validated on; if None,
    the validation images are."""

    scale: str
    data: str | None
    train: int
    held: int | None = None


def images(scale: str, folder: str | None, train: int, held: int | None = None) -> Images:
    """The images of a scale; CIFAR's lie in `folder`/cifar10, or are found or downloaded if `folder` is None."""
    return Images(scale, str(Path(folder) / scale) if folder and scale != "scenes" else None, train, held)


@cache
def load(which: Images) -> Source:
    """Read images, once in each process. What is held out is drawn at random, and always the same."""
    if which.held is None:
        return load_source(which.scale, which.data, SIZE, which.train)
    whole = load_source(which.scale, which.data, SIZE, which.train + which.held)
    everything, labels = whole.train.images, whole.train.labels
    assert isinstance(everything, torch.Tensor) and labels is not None
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))
    parts = [
        ImageSet(everything[rows], labels[rows], whole.train.classes)
        for rows in (order[: which.train], order[which.train :])
    ]
    return replace(whole, train=parts[0], val=parts[1], labelled=parts[0])


def origins(*sets: Images) -> dict[str, str]:
    """By scale, where the images come from: CIFAR-10 saved as JPEG files is another data set than CIFAR-10."""
    return {which.scale: load(which).origin for which in sets}


def accuracies(encoder: TappedEncoder, source: Source, bank: int, judged: int, linear: bool) -> dict[str, float]:
    """Top-1 of up to `judged` validation images, by up to `bank` training images: `knn`, and `linear` if asked for."""
    assert source.labelled is not None and source.val is not None
    train, val = source.labelled.subset(bank), source.val.subset(judged)
    assert train.labels is not None and val.labels is not None
    x, x_val = (extract(encoder, part.images, source.mean, source.std) for part in (train, val))
    found = {"knn": round(knn_top1(x, train.labels, x_val, val.labels), 4)}
    if linear:
        found["linear"] = round(linear_top1(x, train.labels, x_val, val.labels)[0], 4)
    return found


_UNTRAINED: dict[tuple[str, Images, int, int], float] = {}


def untrained_knn(encoder: TappedEncoder, which: Images, bank: int, judged: int) -> float:
    """k-NN of an encoder that many runs begin with, computed once in each process."""
    state = b"".join(tensor.numpy().tobytes() for tensor in encoder.state_dict().values())
    key = (hashlib.sha256(state).hexdigest(), which, bank, judged)
    if key not in _UNTRAINED:
        _UNTRAINED[key] = accuracies(encoder, load(which), bank, judged, False)["knn"]
    return _UNTRAINED[key]


@torch.no_grad()
def reconstruction_error(training: Training, count: int = 500) -> float | None:
    """L1 between whole validation images, not augmented, and their reconstructions; None without a decoder."""
    model, source = training.model, training.source
    if model.decoder is None or source.val is None:
        return None
    model.eval()
    view = at_size(source.val.subset(count).images[:], SIZE)  # (B, 3, H, W)
    drawn = torch.cat([model.decoder(model.framework.online(model.normalise(part)).taps) for part in view.split(100)])
    return round(float((drawn - view).abs().mean()), 5)


def run(
    recipe: Recipe,
    which: Images,
    bank: int = 4_000,
    judged: int = 2_000,
    linear: bool = False,
    every: int | None = None,
) -> dict[str, Any]:
    """Train by a recipe and return the figures.

    They are k-NN (and linear probe) of the trained and k-NN of the untrained encoder, losses of the first and the last
    step, collapse gauges, reconstruction error; with `every`, k-NN each time this number of steps is taken. A run that breaks off
    gives `error` instead.
    """
    torch.set_num_threads(1)
    source, began = load(which), time.perf_counter()
    training = Training(recipe, source)
    untrained = untrained_knn(training.model.framework.evaluated, which, bank, judged)
    first = last = None
    curve: dict[str, float] = {}
    try:
        for losses, views in steps(training):
            if every and training.step % every == 0:
                curve[str(training.step)] = accuracies(training.model.framework.evaluated, source, bank, judged, False)[
                    "knn"
                ]
            if training.step in (1, training.total_steps):
                last = training.report(losses, views, 0.0)
                first = first or last
        assert first is not None and last is not None
        reached = accuracies(training.model.framework.evaluated, source, bank, judged, linear)
    except UserError as error:
        return {"error": str(error), "untrained": untrained}
    return reached | {
        "untrained": untrained,
        "curve": curve,
        "contrastive": [first.losses["contrastive"], last.losses["contrastive"]],
        "reconstruction": [first.losses["reconstruction"], last.losses["reconstruction"]],
        "reconstruction_error": reconstruction_error(training),
        "embedding_std": last.gauges["embedding_std"],
        "effective_rank": last.gauges["effective_rank"],
        "collapsed": collapsed(Chart([first.record()], [last.record()], asdict(recipe))) is not None,
        "seconds": round(time.perf_counter() - began, 1),
    }


def open_table(path: Path, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a file, or a new one, with a fresh head. Ends the script if the file holds what was `measured` otherwise."""
    measured = json.loads(json.dumps(measured))
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cells": {}}
    if "cells" not in table:
        raise SystemExit(f"{path}: not a table of cells; choose another file")
    for name, value in measured.items():
        if table["cells"] and table.get(name) != value:
            raise SystemExit(f"{path}: holds cells with {name} {table.get(name)}, not {value}; choose another file")
    torch.set_num_threads(1)
    return table | provenance() | measured


def fill(path: Path, table: dict[str, Any], cells: Mapping[str, Callable[[], dict[str, Any]]], jobs: int = 1) -> None:
    """Compute the `cells` that `table` lacks, `jobs` at a time with one thread each, and write it to `path` after every one.

    With several jobs cells must be picklable, such as `functools.partial(run, recipe, images)`.
    """
    missing = {name: cell for name, cell in cells.items() if name not in table["cells"]}
    print(f"{path}: {len(cells) - len(missing)} of {len(cells)} cells are finished", flush=True)
    for name, figures in _computed(missing, jobs):
        table["cells"][name] = figures
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, table)
        print(name, figures, flush=True)


def _computed(cells: Mapping[str, Callable[[], dict[str, Any]]], jobs: int) -> Iterable[tuple[str, dict[str, Any]]]:
    """Names and figures, as they are computed."""
    if jobs == 1:
        yield from ((name, cell()) for name, cell in cells.items())
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process starts
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        names: dict[Future[dict[str, Any]], str] = {pool.submit(cell): name for name, cell in cells.items()}
        try:
            for done in as_completed(names):
                yield names[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def by_seed(cells: Mapping[str, Any], arm: str) -> dict[int, Any]:
    """The cells named "ARM SEED" of an arm, by seed."""
    names = {name: name.rsplit(" ", 1) for name in cells}
    return {int(seed): cells[name] for name, (of, seed) in names.items() if of == arm}


def paired(cells: Mapping[str, Any], one: str, other: str, measures: Iterable[str]) -> dict[str, Any]:
    """`one` minus `other`, seed by seed; from two seeds the mean and half its 95 % interval too."""
    table: dict[str, Any] = {}
    for measure in measures:
        values = [
            {seed: cell[measure] for seed, cell in by_seed(cells, arm).items() if cell.get(measure) is not None}
            for arm in (one, other)
        ]
        found = statistics.paired(values[0], values[1])
        table[measure] = {"each": [round(value, 5) for value in found.each.values()]}
        if found.mean is not None and found.half is not None:
            table[measure] |= {"mean": round(found.mean, 5), "half": round(found.half, 5)}
    return table
