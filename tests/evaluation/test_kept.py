"""Training with labels that is stopped, killed or finished, and resumed: the result is that of one run."""

import json
import shutil
import signal
from dataclasses import replace

import pytest
import torch

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.evaluation import kept, supervised
from repre_lite.evaluation.kept import Keeper
from repre_lite.evaluation.supervised import finetune_top1, linear_sgd_top1
from repre_lite.frameworks.base import LinearProtocol
from tests.evaluation.test_supervised import built, task

CALLS = {
    "linear-sgd": lambda given: linear_sgd_top1(built(), given, LinearProtocol("lars", 4, 16, 0.5)),
    "finetune": lambda given: finetune_top1(built(), given),
}


@pytest.fixture
def steps(monkeypatch):
    """The number of optimiser steps taken; what is scored shows any change of a weight."""
    taken = []
    real = supervised._step
    monkeypatch.setattr(supervised, "_step", lambda *arguments: taken.append(real(*arguments)))
    monkeypatch.setattr(supervised, "_top1", lambda scores, task: float(scores.detach().double().abs().mean()))
    return taken


def stop_after(monkeypatch, count):
    """A signal arrives in the step `count` from now on."""
    calls = iter(range(10**6))
    monkeypatch.setattr(kept, "agreed", lambda received, device, now: signal.SIGTERM if next(calls) == count - 1 else 0)


@pytest.mark.parametrize("name", CALLS)
def test_a_resumed_training_ends_as_one_that_was_not_stopped(name, steps, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(supervised, "FINETUNE_BATCH", 16)
    given = task(train=64, val=16, epochs=4)  # 16 steps
    whole = CALLS[name](given)
    assert len(steps) == 16 and not list(tmp_path.iterdir())  # without a folder nothing is kept
    steps.clear()
    for count in (5, 6):
        with monkeypatch.context() as patch, pytest.raises(rl.Stopped, match=f"{name} stopped at step .* of 16"):
            stop_after(patch, count)
            CALLS[name](replace(given, keeper=Keeper(tmp_path)))
    (file,) = tmp_path.iterdir()
    assert file.name.startswith(f"{name}-") and file.suffix == ".pt"
    keeper = Keeper(tmp_path)
    assert CALLS[name](replace(given, keeper=keeper)) == whole and len(steps) == 16
    assert "resuming at step 11 of 16" in capsys.readouterr().out
    assert (
        CALLS[name](replace(given, keeper=Keeper(tmp_path))) == whole and len(steps) == 16
    )  # kept until it is written
    keeper.forget()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CALLS)
def test_a_killed_training_loses_what_came_after_the_last_save(name, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(supervised, "FINETUNE_BATCH", 16)
    given = task(train=64, val=16, epochs=1)
    whole = CALLS[name](given)
    steps.clear()
    monkeypatch.setattr(kept, "EVERY", -1.0)

    real = supervised._loss

    def killed(*arguments):
        if len(steps) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(supervised, "_loss", killed)
        CALLS[name](replace(given, keeper=Keeper(tmp_path)))
    steps.clear()
    assert CALLS[name](replace(given, keeper=Keeper(tmp_path))) == whole and len(steps) == 1


@pytest.mark.parametrize("change", [{"epochs": 3}, {"seed": 1}, {"mean": (0.1, 0.1, 0.1)}, "images", "weights"])
def test_another_training_begins_anew_and_leaves_the_first_alone(change, steps, tmp_path, monkeypatch):
    protocol, given = LinearProtocol("sgd", 2, 16, 0.5), task(train=32, val=16, epochs=2)
    with monkeypatch.context() as patch, pytest.raises(rl.Stopped):
        stop_after(patch, 2)
        linear_sgd_top1(built(), replace(given, keeper=Keeper(tmp_path)), protocol)
    (first,) = tmp_path.iterdir()
    before, encoder = first.read_bytes(), built()
    other = replace(given, keeper=Keeper(tmp_path), **(change if isinstance(change, dict) else {}))
    if change == "images":
        other = replace(other, val=task(train=32, val=15).val)
    if change == "weights":
        with torch.no_grad():
            encoder.backbone.pos_embed.add_(0.1)
    steps.clear()
    linear_sgd_top1(encoder, other, protocol)
    assert len(steps) == 2 * other.epochs and len(list(tmp_path.iterdir())) == 2 and first.read_bytes() == before


def test_a_file_that_cannot_be_read_is_no_obstacle(steps, tmp_path, monkeypatch, capsys):
    protocol, given = LinearProtocol("sgd", 1, 16, 0.5), task(train=32, val=16, epochs=1)
    whole = linear_sgd_top1(built(), replace(given, keeper=Keeper(tmp_path)), protocol)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    steps.clear()
    assert linear_sgd_top1(built(), replace(given, keeper=Keeper(tmp_path)), protocol) == whole and len(steps) == 2
    assert f"{file}: cannot be read, so linear-sgd begins anew" in capsys.readouterr().out


def test_the_command_resumes_where_it_stopped(steps, tiny_runs, tmp_path, monkeypatch, capsys):
    """In the control: the encoder itself is not trained again."""
    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    monkeypatch.setattr(supervised, "FINETUNE_BATCH", 8)
    run, command = tmp_path / "run", ["--protocol", "finetune", "--epochs", "1"]
    shutil.copytree(tiny_runs["multi-0"], run)
    shutil.copytree(run, tmp_path / "whole")
    assert main(["evaluate", str(tmp_path / "whole"), *command]) == 0
    each = len(steps) // 2
    steps.clear()
    with monkeypatch.context() as patch:
        stop_after(patch, each)  # the last step of a training asks for no agreement
        assert main(["evaluate", str(run), *command]) == 128 + signal.SIGTERM
    assert len(steps) == each + 1 and len(list(run.glob("finetune-*.pt"))) == 2
    assert main(["evaluate", str(run), *command]) == 0 and len(steps) == 2 * each
    assert not list(run.glob("finetune-*.pt"))
    found = [json.loads((folder / "summary.json").read_text()) for folder in (run, tmp_path / "whole")]
    names = ("finetune_top1", "finetune_top1_untrained")
    assert [found[0][name] for name in names] == [found[1][name] for name in names]
    assert "resuming at step 1" in capsys.readouterr().out
