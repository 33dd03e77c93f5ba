"""A tiny grid that the tests run in processes of their own: `python tiny_grid.py OUT`."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from repre_lite.data import sources
from repre_lite.reproduce import runner
from repre_lite.reproduce.grid import table
from tests.small import SMALL, TINY

sources.SCENES_VAL = 50  # also in the processes that import this file
STEPS, ARMS, MEASURES = 3, ("detached", "multi"), ("knn_top1", "reconstruction_error")
TINY_RECIPE = {"train_images": 64, "batch_size": 16, "encoder": TINY, "method": SMALL["moco_v3"], "decoder_width": 8}


def grid(seeds=2, steps=STEPS):
    """Two arms of `local` by two cheap measures."""
    whole = table("local", "scenes", seeds, steps=steps, device="cpu", **TINY_RECIPE)
    lines = tuple(line for line in whole.lines if line.labels[0] in ARMS)
    kept = {line.name for line in lines}
    cells = tuple(replace(cell, measures=MEASURES) for cell in whole.cells if cell.line in kept)
    return replace(whole, lines=lines, cells=cells, measures=MEASURES)


def work(cells, out):
    """`runner.work`, in a process that has read this file."""
    runner.work(cells, out)


def note_gpus(cells, out):
    """Write down which GPUs this worker sees, and wait until another one has."""
    (out / os.environ["CUDA_VISIBLE_DEVICES"]).touch()
    until = time.monotonic() + 60
    while len(list(out.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)


if __name__ == "__main__":
    runner.run_cells(grid().cells, Path(sys.argv[1]), quiet=True)
