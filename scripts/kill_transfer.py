"""Kill a transfer run many times and check that it ends exactly as an uninterrupted one does, for both tasks.

python scripts/kill_transfer.py [--kills 6] [--steps 40] [--seed 0] [--folder DIR]

Tiny `repre-lite transfer` runs on the scenes, one torch thread, a checkpoint every few steps. SIGKILL is sent at random
moments: every third while a run starts, the last while it is scored or written, the others between two checkpoints. After every
kill the checkpoint must load; at the end checkpoint.pt, metrics.jsonl, summary.json (but for times), model.safetensors and
the figure are compared bit for bit. A task that is done in DIR is not done again. Exit status 1 on a difference. About ten
minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kill_and_resume import finish, leaves, same, wait

from repre_lite.runs import CHECKPOINT, METRICS, RECIPE, SUMMARY, read_json
from repre_lite.runtime.files import TEMPORARY, load_checkpoint, load_tensors, read_jsonl, write_json
from repre_lite.transfer.run import MODEL

EVERY = 4  # steps between checkpoints
OPTIONS = f"--scale scenes --arch vit_micro --train-images 32 --checkpoint-every {EVERY} --device cpu --head-width 8"
TASKS = {"segmentation": "--batch-size 8 --drop-path 0.2", "detection": "--batch-size 4 --drop-path 0.2 --regions 8"}
CLOCK = ("wall_seconds", "images_per_second", "peak_memory_bytes")  # what no two runs share
FIGURE = "figures/predictions.png"


def start(out: Path, task: str, steps: int) -> subprocess.Popen[bytes]:
    """`repre-lite transfer` in a process of its own; what it prints goes to a file beside `out`."""
    options = f"transfer random --task {task} {OPTIONS} {TASKS[task]} --steps {steps} --out".split()
    with open(f"{out}.log", "ab") as log:
        environment = os.environ | {"REPRE_LITE_THREADS": "1"}
        command = [sys.executable, "-m", "repre_lite", *options, str(out)]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def written(path: Path) -> int:
    """When, 0 if it is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


def reached(out: Path) -> int:
    """The step of the last checkpoint. An error here is a torn file."""
    return int(load_checkpoint(out / CHECKPOINT)["step"]) if (out / CHECKPOINT).exists() else 0


def kill(out: Path, task: str, steps: int, when: str, seconds: float) -> None:
    """Start or resume, and kill after `seconds`: of the process, of its first checkpoint ("training") or its last."""
    before = written(out / CHECKPOINT)
    process = start(out, task, steps)
    if when == "training":
        wait(process, lambda: written(out / CHECKPOINT) != before)
    elif when == "finishing":
        wait(process, lambda: (out / SUMMARY).exists() and read_json(out / SUMMARY).get("steps") == steps)
    time.sleep(seconds)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    torn = len(list(out.glob(f"**/{TEMPORARY}*")))
    half = f", {torn} half written" if torn else ""
    print(f"{task}: killed while {when}, checkpoint of step {reached(out)}{half}{', had ended' * ended}", flush=True)


def ending(out: Path) -> dict[str, Any]:
    """All that two equal runs share, by name."""
    found = dict(leaves(load_checkpoint(out / CHECKPOINT), CHECKPOINT))
    tensors, metadata = load_tensors(out / MODEL)
    records = [{k: v for k, v in record.items() if k not in CLOCK} for record in read_jsonl(out / METRICS)]
    summary = {k: v for k, v in read_json(out / SUMMARY).items() if k not in CLOCK}
    others = {MODEL: tensors, "metadata": metadata, METRICS: records, SUMMARY: summary, RECIPE: read_json(out / RECIPE)}
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    return found | dict(leaves(others)) | {"files": names, FIGURE: (out / FIGURE).read_bytes()}


def check(folder: Path, task: str, kills: int, steps: int, draw: random.Random) -> dict[str, Any]:
    """Run a task in `folder` twice, once killed, and say what differs."""
    alone, killed = folder / f"{task}-alone", folder / f"{task}-killed"
    began = time.perf_counter()
    process, moments = start(alone, task, steps), {}
    wait(process, lambda: (alone / METRICS).exists())
    moments["starting"] = time.perf_counter() - began
    wait(process, lambda: (alone / SUMMARY).exists() and read_json(alone / SUMMARY).get("steps") == steps)
    trained = time.perf_counter() - began
    finish(process, alone)
    moments["training"] = (trained - moments["starting"]) * EVERY / steps  # from one checkpoint to the next
    moments["finishing"] = time.perf_counter() - began - trained
    print(f"{task}, left alone: " + ", ".join(f"{name} {value:.1f} s" for name, value in moments.items()), flush=True)
    for number in range(1, kills + 1):
        when = "finishing" if number == kills else "starting" if number % 3 == 0 else "training"
        kill(killed, task, steps, when, draw.uniform(0, moments[when]))
    finish(start(killed, task, steps), killed)
    one, other = ending(alone), ending(killed)
    different = sorted(set(one) ^ set(other)) + [
        name for name in one if name in other and not same(one[name], other[name])
    ]
    return {"values": len(one), "kills": kills, "different": different}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6, help="of each task (default 6)")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--folder", type=Path, help="keep the runs here (default: a temporary folder)")
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory(prefix="kill-transfer-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for task in TASKS:
            result = folder / f"{task}.json"
            if not result.exists():
                if any(folder.glob(f"{task}-*")):
                    raise SystemExit(f"{folder}: remove {task}-* of a check that was broken off")
                draw = random.Random(options.seed)
                write_json(result, check(folder, task, options.kills, options.steps, draw))
            found = read_json(result)
            wrong = found["different"]
            said = f"DIFFERENT: {', '.join(wrong[:10])}" if wrong else "equal bit for bit"
            print(f"{task}: {found['values']} values after {found['kills']} kills, {said}", flush=True)
            different += len(wrong)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
