"""A step that is not finite is never saved as a checkpoint; it is found again, saved apart, and can be taken again."""

import dataclasses

import pytest
import torch
from small import TINY

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.runs import CHECKPOINT, SNAPSHOTS
from repre_lite.runtime.errors import NonFiniteError
from repre_lite.training.loop import Training
from repre_lite.training.nonfinite import NONFINITE, replay
from repre_lite.training.train import train

RECIPE = rl.recipe(
    "scenes", steps=12, batch_size=8, train_images=32, checkpoint_every=2, device="cpu", arch="vit_micro",
    encoder=TINY, decoder_width=8, method={"hidden": 16, "out": 8},
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 100)
        yield


def finite(state):
    return all(
        x.isfinite().all() for x in state["model"].values() if isinstance(x, torch.Tensor) and x.is_floating_point()
    )


def poisoned(where, step, patch):
    """Before or after step `step` (from 1) is taken, one weight becomes NaN."""
    advance = Training.advance

    def poison(self):
        with torch.no_grad():
            next(p for p in self.model.parameters() if p.requires_grad).flatten()[0] = float("nan")

    def disturbed(self):
        if where == "before" and self.step == step - 1:
            poison(self)
        taken = advance(self)
        if where == "after" and self.step == step:
            poison(self)
        return taken

    patch.setattr(Training, "advance", disturbed)


def test_features_that_are_not_finite_end_the_run_too(tmp_path):
    """One step at a rate of 1e30: loss and weights are finite, but no features come of such weights."""
    recipe = dataclasses.replace(RECIPE, lr=1e30, warmup_epochs=0, steps=1, framework="simclr", method={"out": 8})
    with pytest.raises(NonFiniteError, match="step 1: the features are not finite"):
        train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / CHECKPOINT).exists() and not (tmp_path / "run" / NONFINITE).exists()


@pytest.mark.parametrize("every", [1, 5], ids=["each step is read", "every fifth step is read"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_the_step_is_found_and_saved_apart(where, every, tmp_path, monkeypatch):
    out = tmp_path / "run"
    poisoned(where, 7, monkeypatch)
    monkeypatch.setattr(Training, "logs", lambda self: self.step % every == 0 or self.step == 12)
    what = "the loss is" if where == "before" else "the weights are"
    with pytest.raises(NonFiniteError, match=f"{what} not finite.*lower lr=.*before step 7") as told:
        train(dataclasses.replace(RECIPE, checkpoint_every=4, snapshots=3), out, quiet=True)
    assert told.value.step == 7 and "\n" not in str(told.value)
    checkpoint, held = (torch.load(out / name, weights_only=True) for name in (CHECKPOINT, NONFINITE))
    assert checkpoint["step"] == 4 and finite(checkpoint)
    assert held["step"] == 6 and finite(held)
    assert held["indices"].tolist() == Training(RECIPE).batches.rows(6)[0].tolist()
    assert sorted(path.name for path in (out / SNAPSHOTS).iterdir()) == ["step-0000001", "step-0000004"]


def test_it_can_be_taken_again(tmp_path):
    """A rate that overflows: its second step has weights of 1e30 and a loss that is not finite."""
    recipe = dataclasses.replace(RECIPE, lr=1e30, warmup_epochs=0, framework="simclr", method={"out": 8})
    with pytest.raises(NonFiniteError) as told:
        train(recipe, tmp_path / "run", quiet=True)
    training = replay(tmp_path / "run")
    assert training.step == told.value.step - 1
    training.check_finite()
    _, views = training.advance()
    assert views[0].shape == (8, 3, 32, 32)
    with pytest.raises(NonFiniteError):
        training.check_finite()
    with pytest.raises(rl.UserError, match=r"nonfinite\.pt: no such file"):
        (tmp_path / "run" / NONFINITE).unlink()
        replay(tmp_path / "run")


def test_averages_of_the_optimiser_count():
    training = Training(RECIPE)
    training.advance()
    state = next(iter(training.optimiser.state.values()))
    state["exp_avg_sq"].flatten()[0] = float("inf")
    with pytest.raises(NonFiniteError, match="step 1: the weights"):
        training.state()


def test_the_generator_says_so_too(monkeypatch):
    poisoned("before", 3, monkeypatch)
    steps = rl.training_steps(RECIPE)
    with pytest.raises(NonFiniteError, match="step 3"):
        for step in steps:
            assert step.step < 3


def test_weights_of_the_last_step_are_checked(tmp_path, capsys):
    """One step at a rate of 1e30: the loss is finite, the weights after it are not all."""
    options = "--scale scenes --framework simclr --steps 1 --warmup-epochs 0 --lr 1e39 --batch-size 8 --train-images 32"
    assert main(["pretrain", *options.split(), "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    assert "step 1: the weights are not finite" in capsys.readouterr().err
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "no checkpoint.pt yet" in capsys.readouterr().err
