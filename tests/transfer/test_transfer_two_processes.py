"""Two CPU processes under one torchrun end where one process ends: losses, weights and scores; each does half the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


def results(command, source, data, out):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "REPRE_LITE_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    done = subprocess.run(
        [*command, str(SCRIPT), source, str(data), str(out)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.skipif(not torch.distributed.is_available() or sys.platform == "win32", reason="needs gloo")
def test_two_processes_equal_one(vit, street, tmp_path):
    one = results([sys.executable], vit, street, tmp_path / "one.json")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = results(torchrun, vit, street, tmp_path / "two.json")
    assert one.keys() == two.keys()
    alone, shared = one.pop("evaluation"), two.pop("evaluation")
    assert shared["seen"] <= 0.6 * alone["seen"], "images that the main process put through the encoder"
    assert alone["found"].keys() == shared["found"].keys() and "dense_miou_untrained" in alone["found"]
    for found in (alone, shared):
        assert found["resumed"] == pytest.approx(found["found"]["finetune_top1"], rel=1e-6)
    for name, value in alone["found"].items():
        if isinstance(value, dict):  # diversity: lists by measure
            assert all(shared["found"][name][what] == pytest.approx(each, rel=1e-4) for what, each in value.items())
        else:
            assert shared["found"][name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value), (
                name
            )
    for task in one:
        for a, b in zip(one[task]["losses"], two[task]["losses"], strict=True):
            # torchvision's objectness loss is rounded to fp32, whatever the weights are
            assert a == pytest.approx(b, abs=1e-8 if task == "segmentation" else 1e-6), task
        assert abs(np.array(one[task]["weights"]) - np.array(two[task]["weights"])).max() <= 1e-8, task
        scores = [{name: value for name, value in run[task]["scores"].items() if name != "iou"} for run in (one, two)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-8), task
        assert one[task]["losses"][0]["loss"] != one[task]["losses"][-1]["loss"]
