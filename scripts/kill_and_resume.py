"""Kill a run many times and check that it ends with exactly the weights of an uninterrupted one.

python scripts/kill_and_resume.py [--kills 20] [--steps 300] [--seed 0] [--folder DIR]

Both are the same tiny `repre-lite pretrain` on the scenes, one torch thread, a checkpoint every few steps. SIGKILL is
sent at random moments after the first checkpoint: every fourth while a run starts, the others while it trains or writes.
After every kill the checkpoint must load; at the end everything in the two checkpoint.pt (weights, optimiser, step) is
compared bit for bit, and the steps and losses of the two metrics.jsonl. Exit status 1 on a difference. About five minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from repre_lite.runs import CHECKPOINT, METRICS
from repre_lite.runtime.files import TEMPORARY, load_checkpoint, read_jsonl

OPTIONS = "--scale scenes --framework moco_v3 --train-images 64 --batch-size 16 --checkpoint-every 5 --device cpu"


def start(out: Path, steps: int) -> subprocess.Popen[bytes]:
    """`repre-lite pretrain` in a process of its own; what it prints goes to a file beside `out`."""
    command = [sys.executable, "-m", "repre_lite", "pretrain", *OPTIONS.split(), "--steps", str(steps)]
    with open(f"{out}.log", "ab") as log:
        environment = os.environ | {"REPRE_LITE_THREADS": "1"}
        return subprocess.Popen([*command, "--out", str(out)], stdout=log, stderr=log, env=environment)


def wait(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    """Wait until `ready`, or the process has ended; whether it still runs."""
    while process.poll() is None:
        if ready():
            return True
        time.sleep(0.01)
    return False


def finish(process: subprocess.Popen[bytes], out: Path) -> None:
    if process.wait() != 0:
        raise SystemExit(
            f"repre-lite ended with status {process.returncode}:\n{Path(f'{out}.log').read_text()[-2000:]}"
        )


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its path."""
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, f"{name}/{key}")
    else:
        yield name, value


def same(one: Any, other: Any) -> bool:
    """Bit for bit: the same type, and for tensors the same bytes."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return torch.equal(*(x.contiguous().flatten().view(torch.uint8) for x in (one, other)))
    return type(one) is type(other) and one == other


def differences(alone: Path, killed: Path) -> list[str]:
    """What the two runs do not share: names of values in checkpoint.pt, lines of metrics.jsonl."""
    one, other = (dict(leaves(load_checkpoint(out / CHECKPOINT))) for out in (alone, killed))
    found = sorted(set(one) ^ set(other))
    found += [name for name in one if name in other and not same(one[name], other[name])]
    print(
        f"{len(one)} values in {CHECKPOINT}, {sum(isinstance(v, torch.Tensor) for v in one.values())} of them tensors"
    )
    kept = [
        [(record["step"], record["contrastive"], record["reconstruction"]) for record in read_jsonl(out / METRICS)]
        for out in (alone, killed)
    ]
    return found + ([] if kept[0] == kept[1] else [METRICS])


def kill_often(out: Path, kills: int, steps: int, starting: float, training: float, draw: random.Random) -> None:
    """Start, kill, start again, `kills` times. The moments are spread so that the run does not end before the last."""
    first = start(out, steps)
    if not wait(first, lambda: (out / CHECKPOINT).exists()):
        finish(first, out)
    process, share = first, training / (kills + 1)
    for number in range(1, kills + 1):
        early = number % 4 == 0
        if number > 1:
            size = (out / METRICS).stat().st_size
            process = start(out, steps)
            if not early:  # a resumed run first shortens metrics.jsonl, or adds lines to it
                wait(process, lambda size=size: (out / METRICS).stat().st_size != size)  # type: ignore[misc]
        time.sleep(draw.uniform(0, starting if early else share))
        if process.poll() is not None:
            finish(process, out)
            raise SystemExit(f"the run ended before kill {number}: give more --steps or fewer --kills")
        process.kill()
        process.wait()
        reached = load_checkpoint(out / CHECKPOINT)["step"]  # an error here is a torn checkpoint
        logged = read_jsonl(out / METRICS)[-1:]
        torn = len(list(out.glob(f"{TEMPORARY}*")))
        print(
            f"kill {number:2d}: checkpoint of step {reached}, logged to step {logged[0]['step'] if logged else 0}"
            + (f", {torn} file(s) half written" if torn else ""),
            flush=True,
        )
    finish(start(out, steps), out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--folder", type=Path, help="keep both runs here (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-and-resume-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        alone, killed = folder / "alone", folder / "killed"
        if any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty; choose another folder")
        began = time.perf_counter()
        process = start(alone, options.steps)
        wait(process, lambda: (alone / METRICS).exists())
        starting = time.perf_counter() - began
        finish(process, alone)
        training = time.perf_counter() - began - starting
        print(f"left alone: {starting:.1f} s to start, {training:.1f} s for {options.steps} steps", flush=True)
        kill_often(killed, options.kills, options.steps, starting, training, random.Random(options.seed))
        different = differences(alone, killed)
    print(f"DIFFERENT: {', '.join(different[:10])}" if different else f"equal bit for bit after {options.kills} kills")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
