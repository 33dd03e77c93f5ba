"""Check that memory does not grow during a long run: 2,000 tiny steps with everything a run does between them.

python scripts/memory_flat.py [--steps 2000]

MoBY on the scenes, with its two queues, the branch, gauges and logging. The resident memory (on a GPU: what torch has
allocated) is read after every tenth of the run; after the second tenth it may not grow by more than 2 %. Exit
status 1 if it does. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

import torch

import repre_lite as rl
from repre_lite.training.loop import training_steps

MOST = 0.02


def memory() -> int:
    """Bytes."""
    gc.collect()
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    recipe = rl.recipe(
        "scenes", "moby", steps=steps, batch_size=8, train_images=64, encoder={"embed_dim": 32, "depth": 4, "num_heads": 2},
        method={"hidden": 64, "out": 32, "queue": 64},
    )  # fmt: skip
    seen = []
    for step in training_steps(recipe):
        if step.step % (steps // 10) == 0:
            seen.append(memory())
            print(f"step {step.step:5d}: {seen[-1] / 2**20:8.1f} MiB, loss {step.losses['total']:.3f}", flush=True)
    growth = max(seen[1:]) / seen[1] - 1
    print(f"grown by {growth:.2%} since step {2 * (steps // 10)}, at most {MOST:.0%} allowed")
    return 1 if growth > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
