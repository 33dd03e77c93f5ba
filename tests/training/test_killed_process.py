"""One of two processes is killed: torchrun starts both again, they go on by themselves and end where one process ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import repre_lite as rl
from repre_lite.evaluation import extract
from repre_lite.runs import CHECKPOINT, METRICS
from repre_lite.runtime.files import load_checkpoint
from repre_lite.training.train import train

sys.path.insert(0, str(Path(__file__).parent))
from killed_process import RECIPE


@pytest.mark.skipif(not torch.distributed.is_available() or sys.platform == "win32", reason="needs gloo and signals")
def test_a_killed_process_is_started_again_and_the_run_ends_the_same(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "REPRE_LITE_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    script = str(Path(__file__).with_name("killed_process.py"))
    done = subprocess.run([*command, script, str(killed)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "killed-was-killed").exists()

    train(RECIPE, alone, quiet=True)
    one, two = (load_checkpoint(folder / CHECKPOINT)["model"] for folder in (alone, killed))
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.allclose(value.double(), two[name].double(), atol=1e-8), name
    steps = [json.loads(line)["step"] for line in (killed / METRICS).read_text().splitlines()]
    assert steps == list(range(1, 13))
    run = rl.load_run(killed)
    psnr = [rl.load_run(folder).summary["reconstruction_psnr"] for folder in (alone, killed)]
    assert psnr[0] == pytest.approx(psnr[1], abs=1e-4)
    assert run.summary["finished"] and not list(killed.glob(".writing-*"))

    images = rl.scenes(range(7), size=32).images
    together = torch.load(tmp_path / "killed-features.pt", weights_only=True)
    assert torch.allclose(together, extract(run.encoder, images, run.mean, run.std), atol=1e-5)
