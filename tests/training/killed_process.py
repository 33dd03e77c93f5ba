"""A tiny run under torchrun in which the second of two processes is killed at step 7, once.

`python killed_process.py OUT` in one process is the run that nobody disturbed. Also writes features that all processes
extracted together, into OUT-features.pt.
"""

import os
import signal
import sys
from pathlib import Path

import torch

import repre_lite as rl
from repre_lite.evaluation import extract_shared
from repre_lite.runtime import distributed
from repre_lite.training.loop import Training
from repre_lite.training.train import train

RECIPE = rl.recipe(
    "scenes", "moco_v3", steps=12, batch_size=8, train_images=40, precision="fp64", device="cpu", checkpoint_every=3,
    encoder={"embed_dim": 32, "depth": 4, "num_heads": 2}, method={"hidden": 32, "out": 16},
)  # fmt: skip
advance = Training.advance


def advance_or_die(self):
    if self.step == 6 and distributed.rank() == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        Path(f"{sys.argv[1]}-was-killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self)


if __name__ == "__main__":
    out = sys.argv[1]
    Training.advance = advance_or_die
    run = train(RECIPE, out, quiet=True)
    features = extract_shared(run.encoder, rl.scenes(range(7), size=32).images, run.mean, run.std)
    if distributed.is_main():
        torch.save(features, f"{out}-features.pt")
    distributed.finish()
