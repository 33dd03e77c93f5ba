"""The supervised control: its precision, its draws, and images in memory or in files."""

import json
import signal

import pytest
import torch
from small import SMALL, TINY

import repre_lite as rl
from repre_lite.evaluation import kept
from repre_lite.reproduce import supervised
from repre_lite.runtime.files import load_tensors
from repre_lite.training.loop import Training

STEPS = 4


def trained(folder, seed=0, **changes):
    """The weights that the control ends with; `seed`: of what was drawn in the process before."""
    small = {"steps": STEPS, "batch_size": 8, "train_images": 32, "encoder": TINY, "method": SMALL["simclr"]}
    torch.manual_seed(seed)
    folder.mkdir(exist_ok=True)
    supervised.train_supervised(
        rl.recipe(**{"scale": "scenes", "framework": "simclr", "device": "cpu"} | small | changes), folder
    )
    return load_tensors(folder / "encoder.safetensors")[0]


def equal(one, other):
    return all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_gradients_are_scaled_if_the_precision_asks_for_it(tmp_path, monkeypatch):
    plain, scalers = trained(tmp_path), []

    class Scaled(Training):
        def __init__(self, recipe):
            super().__init__(recipe)
            self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
            scalers.append(self.scaler)

    monkeypatch.setattr(supervised, "Training", Scaled)
    assert equal(trained(tmp_path), plain)
    assert scalers[0].state_dict()["_growth_tracker"] == STEPS  # each step was scaled and none left out


def test_drop_path_is_drawn_by_seed_and_step(tmp_path):
    one, again = (trained(tmp_path, seed, drop_path=0.5) for seed in (0, 1))
    assert equal(one, again) and not equal(one, trained(tmp_path)) and not equal(one, trained(tmp_path, drop_path=0.4))


def test_a_control_that_was_stopped_is_resumed(tmp_path, monkeypatch):
    whole, answers = trained(tmp_path / "whole", drop_path=0.5), iter([0, signal.SIGTERM])
    with monkeypatch.context() as patch, pytest.raises(rl.Stopped, match="supervised stopped at step 2 of 4"):
        patch.setattr(kept, "agreed", lambda *arguments: next(answers))
        trained(tmp_path / "stopped", drop_path=0.5)
    assert equal(trained(tmp_path / "stopped", drop_path=0.5), whole)
    metrics = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
               for name in ("whole", "stopped")]  # fmt: skip
    assert metrics[0] == metrics[1] and [record["step"] for record in metrics[0]] == [1, 2, 3, 4]
    assert not list((tmp_path / "stopped").glob("*.pt"))


@pytest.mark.parametrize("changes", [{"precision": "fp64"}, {"precision": "bf16"}], ids=str)
def test_every_precision_trains(changes, tmp_path):
    assert all(weight.isfinite().all() for weight in trained(tmp_path, **changes).values())


def test_images_that_stay_in_their_files(photographs, tmp_path):
    changes = {"scale": "folder", "data": str(photographs), "image_size": 104, "arch": "vit_tiny", "train_images": None}
    found = trained(tmp_path, **changes)
    assert all(weight.isfinite().all() for weight in found.values())
