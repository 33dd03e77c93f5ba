"""Resuming is exact, stopping is clean, a bad loss is never saved."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.frameworks.dino import DINO
from repre_lite.repre import RePre
from repre_lite.runs import CHECKPOINT
from repre_lite.training.loop import Training, steps
from repre_lite.training.optim import parameter_groups
from repre_lite.training.train import Stopped, knn_is_due, online_knn, snapshot_steps, train

RECIPE = rl.recipe("scenes", steps=12, batch_size=16, train_images=64, method={"hidden": 64, "out": 32})


def test_one_class_has_no_online_k_nn():
    images = ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("all",))
    source = Source("folder", images, images, (), (), 0, "", images)
    assert online_knn(SimpleNamespace(source=source, model=mock.Mock())) is None  # not 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"weighting": "kendall"}, {"tap_blocks": (1, 99)}, {"framework": "moco_v2", "reconstruct_views": "both"},
     {"encoder": {"foo": 1}}],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_said_before_images_are_read(wrong, monkeypatch):
    monkeypatch.setattr("repre_lite.training.loop.images_of", mock.Mock(side_effect=AssertionError("images were read")))
    with pytest.raises(rl.UserError, match="kendall|99|moco_v2|MoCoV2|foo"):
        Training(rl.recipe(**{"scale": "scenes", "framework": "moco_v3"} | wrong))


@contextmanager
def default_dtype(dtype):
    held = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(held)


@pytest.mark.parametrize(
    ("surrounded", "said"),
    [(torch.no_grad, "gradients are switched off"), (torch.inference_mode, "gradients are switched off"),
     (lambda: torch.autocast("cpu", torch.bfloat16), "autocast is on"),
     (lambda: torch.device("meta"), r"default device is meta; call torch.set_default_device\(None\)"),
     (lambda: default_dtype(torch.float64), "default dtype is torch.float64; .* precision=")],
)  # fmt: skip
def test_training_where_torch_is_set_otherwise_is_refused(surrounded, said, tmp_path):
    with surrounded(), pytest.raises(rl.UserError, match=said):
        rl.train(RECIPE, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def weights(folder):
    return torch.load(Path(folder) / CHECKPOINT, weights_only=True)["model"]


def same(one, other):
    return all(
        torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True) if isinstance(a, torch.Tensor)
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(RECIPE, out, quiet=True)
    return out


def test_the_generator_and_train_do_the_same(uninterrupted):
    seen = list(rl.training_steps(RECIPE))
    assert [step.step for step in seen] == list(range(1, 13))
    assert seen[0].losses["total"] != seen[-1].losses["total"]
    metrics = rl.load_run(uninterrupted).metrics
    assert [line["loss"] for line in metrics] == [step.losses["total"] for step in seen]
    assert seen[3].views[0].shape == (16, 3, 32, 32) and 0 <= seen[3].views[0].min() <= seen[3].views[0].max() <= 1


@pytest.mark.parametrize("more", [{"drop_path": 0.3}, {"encoder": {"proj_drop_rate": 0.3}}])
def test_a_step_draws_from_its_own_stream_and_leaves_the_callers_alone(more):
    recipe = dataclasses.replace(RECIPE, steps=2, **more)

    def losses(seed):
        torch.manual_seed(seed)
        before, seen = torch.get_rng_state(), [step.losses["total"] for step in rl.training_steps(recipe)]
        assert torch.equal(torch.get_rng_state(), before)
        return seen

    assert losses(1) == losses(2)


def test_snapshots_are_close_together_at_first():
    assert sorted(snapshot_steps(3000, 8)) == [6, 47, 158, 375, 732, 1266, 2010, 3000]
    assert (
        sorted(snapshot_steps(4, 2)) == [1, 4] and snapshot_steps(100, 1) == {100} and snapshot_steps(100, 0) == set()
    )
    assert {1, 2, 3, 4} <= snapshot_steps(4, 8)


def test_stop_and_resume_ends_with_the_same_bits(uninterrupted, tmp_path, monkeypatch):
    advance = Training.advance

    def advance_and_stop(self):
        result = advance(self)
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(Training, "advance", advance_and_stop)
    with pytest.raises(Stopped, match="step 5 of 12"):
        train(RECIPE, tmp_path / "run", quiet=True)
    monkeypatch.setattr(Training, "advance", advance)
    train(RECIPE, tmp_path / "run", quiet=True)
    assert same(weights(uninterrupted), weights(tmp_path / "run"))
    first, second = (rl.load_run(folder).metrics for folder in (uninterrupted, tmp_path / "run"))
    assert [line["loss"] for line in first] == [line["loss"] for line in second]


def test_kill_and_resume_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "repre_lite", "pretrain", "--steps", "24", "--batch-size", "8", "--train-images", "64",
               "--set", "encoder.embed_dim=48", "--checkpoint-every", "3", "--out"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "REPRE_LITE_THREADS": "1"}
    killed = tmp_path / "killed"
    for _ in range(2):
        held = (killed / CHECKPOINT).stat().st_mtime_ns if (killed / CHECKPOINT).exists() else 0
        process = subprocess.Popen(
            [*command, str(killed)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            if (killed / CHECKPOINT).exists() and (killed / CHECKPOINT).stat().st_mtime_ns != held:
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    for folder in (killed, tmp_path / "whole"):
        subprocess.run([*command, str(folder)], env=environment, check=True, capture_output=True)
    assert same(weights(killed), weights(tmp_path / "whole"))
    assert not list(killed.glob(".writing-*"))
    steps_logged = [json.loads(line)["step"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert steps_logged == sorted(set(steps_logged))


@pytest.mark.parametrize(
    ("total", "log_every", "times"), [(300, 3, 2), (780, 7, 4), (19_400, 50, 10), (93_600, 50, 10)]
)
def test_online_knn_is_measured_all_along_the_run(total, log_every, times):
    logged = [step for step in range(1, total + 1) if step % log_every == 0 or step in (1, total)]
    due = [step for step in logged if knn_is_due(step, total, log_every)]
    assert len(due) == times and due[-1] == total
    assert max(b - a for a, b in pairwise([0, *due])) <= max(200, total // 10) + log_every


def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path, monkeypatch):
    advance = Training.advance

    def poisoned(self):
        if self.step == 6:
            with torch.no_grad():
                next(p for p in self.model.parameters() if p.requires_grad).fill_(float("nan"))
        return advance(self)

    monkeypatch.setattr(Training, "advance", poisoned)
    with pytest.raises(rl.UserError, match="step 7"):
        train(dataclasses.replace(RECIPE, checkpoint_every=2), tmp_path / "run", quiet=True)
    assert torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["step"] == 6
    assert all(
        value.isfinite().all() for value in weights(tmp_path / "run").values() if isinstance(value, torch.Tensor)
    )


def test_every_parameter_is_in_one_group_and_log_variances_do_not_decay():
    model = Training(RECIPE).model
    groups = parameter_groups(model, RECIPE)
    together = [id(p) for group in groups for p in group["params"]]
    assert sorted(together) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    own = next(group for group in groups if any(p is model.weighting.log_variances for p in group["params"]))
    assert not own["decays"] and not own["scheduled"] and own["lr"] == RECIPE.weighting_lr


def test_the_target_is_the_moving_average():
    training = Training(RECIPE)
    framework = training.model.framework
    target = framework.target_encoder.backbone.norm.weight.clone()
    for _ in zip(range(3), steps(training), strict=False):
        online = framework.online.backbone.norm.weight
        m = 1 - (1 - framework.momentum) * (math.cos(math.pi * training.step / 12) + 1) / 2
        target = m * target + (1 - m) * online.detach()
    assert torch.allclose(framework.target_encoder.backbone.norm.weight, target, atol=1e-7)


def test_a_shortened_run_keeps_the_epochs_of_its_recipe(monkeypatch):
    """Half of DINO's ten epochs lie behind the middle of its steps, however few these are."""
    seen = []
    whole = DINO.set_epoch
    monkeypatch.setattr(DINO, "set_epoch", lambda self, epoch: (seen.append(epoch), whole(self, epoch)))
    small = {"hidden": 16, "out": 8, "prototypes": 16}
    recipe = rl.recipe("scenes", "dino", epochs=10, steps=5, batch_size=8, train_images=16, method=small)
    for _ in rl.training_steps(recipe):
        pass
    assert seen[-5:] == [0, 2, 4, 6, 8]


def test_the_predictors_rate_does_not_hang_on_the_weightings():
    recipe = rl.recipe("scenes", "simsiam", weighting_lr=0.0)
    groups = parameter_groups(RePre.from_recipe(recipe), recipe)
    rates = sorted(group["lr"] for group in groups if not group["scheduled"])
    assert rates[0] == 0 and set(rates[1:]) == {recipe.peak_lr}
