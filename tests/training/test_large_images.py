"""Training on images that stay in their files: resumed exactly, whoever reads them, at every scale of that size."""

import dataclasses
import os
import signal
import time
from multiprocessing import active_children

import pytest
import torch

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data.sources import load_source
from repre_lite.runs import CHECKPOINT
from repre_lite.training.loop import Training
from repre_lite.training.train import Stopped, train

METHOD = {"hidden": 32, "out": 16}


def recipe(photographs, **changes):
    """Four steps of eight out of 24 images at 112 pixels: more than an epoch."""
    options = {"arch": "vit_micro", "image_size": 112, "patch_size": 16, "steps": 4, "batch_size": 8, "method": METHOD}
    return rl.recipe("folder", data=str(photographs), **(options | {"decoder_width": 16, "workers": 0} | changes))


def same(one, other):
    one, other = (torch.load(folder / CHECKPOINT, weights_only=True)["model"] for folder in (one, other))
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in tensors)


def all_gone():
    """Whether the workers end; one that is at work ends after it."""
    deadline = time.monotonic() + 60
    while active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not active_children()


def stopping_at(step, monkeypatch):
    advance = Training.advance

    def advance_and_stop(self):
        result = advance(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(Training, "advance", advance_and_stop)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": "cached"},
        {"framework": "dino", "method": METHOD | {"prototypes": 32}},
        {"arch": "swin_micro", "patch_size": 4, "framework": "moby", "batch_size": 4, "method": METHOD | {"queue": 16}},
    ],
    ids=["cached", "dino", "swin"],
)
def test_stop_and_resume_ends_with_the_same_bits(changes, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRE_LITE_CACHE", str(tmp_path / "cache"))
    wanted = recipe(photographs, **changes)
    train(wanted, tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        stopping_at(2, patch)
        with pytest.raises(Stopped, match="step 2 of 4"):
            train(wanted, tmp_path / "stopped", quiet=True)
    train(wanted, tmp_path / "stopped", quiet=True)
    assert same(tmp_path / "whole", tmp_path / "stopped")
    losses = [[line["loss"] for line in rl.load_run(tmp_path / name).metrics] for name in ("whole", "stopped")]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_worker_processes_change_nothing_and_leave_signals_to_the_parent(photographs, tmp_path, monkeypatch):
    wanted = recipe(photographs)
    run = train(wanted, tmp_path / "alone", quiet=True)
    assert run.summary["online_knn_top1"] is not None
    advance, met = Training.advance, []

    def disturbed(self):
        result = advance(self)
        met.append(len(active_children()))
        for process in active_children():
            for signum in (signal.SIGINT, signal.SIGTERM):  # a terminal and a queue send them to all
                os.kill(process.pid, signum)
        return result

    monkeypatch.setattr(Training, "advance", disturbed)
    train(dataclasses.replace(wanted, workers=2), tmp_path / "helped", quiet=True)
    assert same(tmp_path / "alone", tmp_path / "helped")
    assert met == [2, 2, 2, 2] or (os.cpu_count() == 1 and set(met) == {1})
    assert all_gone()


def test_leaving_the_generator_ends_the_workers(photographs):
    seen = rl.training_steps(recipe(photographs, workers=1))
    step = next(seen)
    assert step.views[0].shape == (8, 3, 112, 112) and len(active_children()) == 1
    seen.close()
    assert all_gone()


@pytest.mark.parametrize("scale", ["imagenet100", "imagenet1k"])
def test_imagenet_without_val_skips_knn_and_says_so(scale, imagenet_sample, tmp_path, capsys):
    """The whole way on real photographs: one a class, so that there is no val/."""
    out = tmp_path / "run"
    options = f"--size small --image-size 112 --patch-size 16 --steps 2 --batch-size 8 --workers 0 --train-images 50 --data {imagenet_sample}"
    assert main(["pretrain", "--scale", scale, "--out", str(out), *options.split()]) == 0
    assert "no labelled val/ images, so k-NN is skipped" in capsys.readouterr().out
    assert rl.load_run(out).summary["online_knn_top1"] is None
    assert main(["evaluate", str(out)]) == 0
    assert "no labelled val/" in capsys.readouterr().out
    classes = load_source(scale, str(imagenet_sample), 112).train.classes
    assert len(classes) == {"imagenet100": 100, "imagenet1k": 1000}[scale]
