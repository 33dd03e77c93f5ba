"""Two CPU processes under one torchrun end where one process ends: every loss and every weight, in float64."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


def results(command, out):
    places = os.pathsep.join(map(str, SCRIPT.parents[1:3]))  # tests/ and the checkout
    environment = os.environ | {"OMP_NUM_THREADS": "1", "REPRE_LITE_THREADS": "1", "PYTHONPATH": places}
    done = subprocess.run([*command, str(SCRIPT), str(out)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.skipif(not torch.distributed.is_available() or sys.platform == "win32", reason="needs gloo")
def test_two_processes_equal_one(tmp_path):
    one = results([sys.executable], tmp_path / "one.json")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = results(torchrun, tmp_path / "two.json")
    assert one.keys() == two.keys() and len(one) == 16
    for arm in one:
        for a, b in zip(one[arm]["losses"], two[arm]["losses"], strict=True):
            assert a == pytest.approx(b, abs=1e-8), arm
        assert np.array(one[arm]["gauges"]) == pytest.approx(np.array(two[arm]["gauges"]), rel=1e-4), arm
        assert len(one[arm]["losses"]) == 5 and one[arm]["losses"][0] != one[arm]["losses"][-1]
        for name, values in one[arm]["weights"].items():
            gap = abs(np.array(values) - np.array(two[arm]["weights"][name])).max()
            assert gap <= 1e-8, (arm, name, gap)
