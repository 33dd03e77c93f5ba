"""A transfer run folder: what is in it, exact resume, and one line for what does not go together."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import repre_lite as rl
from repre_lite.data import masks
from repre_lite.runs import CHECKPOINT, METRICS, RECIPE, SUMMARY
from repre_lite.runtime import files
from repre_lite.runtime.lock import LOCK, locked
from repre_lite.transfer import objects
from repre_lite.transfer import run as module
from repre_lite.transfer.loop import Transfer
from repre_lite.transfer.run import MODEL, transfer
from repre_lite.transfer.settings import transfer_recipe

SMALL = {"steps": 5, "batch_size": 2, "workers": 0, "device": "cpu", "crop": 24, "short_side": 32, "head_width": 8,
         "warmup_steps": 1, "drop_path": 0.2, "lr": 1e-3}  # fmt: skip


def recipe(source, data, **changes):
    return transfer_recipe(source, "segmentation", data=str(data), **(SMALL | changes))


def weights(folder):
    return torch.load(Path(folder) / CHECKPOINT, weights_only=True)["model"]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(vit, street, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    transfer(recipe(vit, street), out, quiet=True)
    return out


def stopped_at(step, asked, out):
    advance = Transfer.advance

    def advance_and_stop(self, batch):
        losses = advance(self, batch)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transfer, "advance", advance_and_stop)
        with pytest.raises(rl.Stopped, match=f"step {step} of"):
            transfer(asked, out, quiet=True)


def test_transfer_inside_no_grad_is_refused(vit, street, tmp_path):
    with torch.no_grad(), pytest.raises(rl.UserError, match="gradients are switched off"):
        transfer(recipe(vit, street), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def refused(asked, out, says):
    before = contents(out) if out.exists() else None
    with pytest.raises(rl.UserError) as told:
        transfer(asked, out, quiet=True)
    assert says in str(told.value) and "\n" not in str(told.value)
    assert (contents(out) if out.exists() else None) == before


def test_what_a_run_folder_holds(whole):
    assert {path.name for path in whole.iterdir()} == {RECIPE, METRICS, CHECKPOINT, MODEL, SUMMARY, "figures"}
    held = json.loads((whole / RECIPE).read_text())
    assert held["task"] == "segmentation" and held["head"] == "pup" and held["classes"] == ["dark", "bright"]
    summary = json.loads((whole / SUMMARY).read_text())
    assert summary["finished"] and summary["steps"] == 5
    assert all(0 <= summary[name] <= 1 for name in ("miou", "macc", "miou_majority"))
    lines = files.read_jsonl(whole / METRICS)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["loss"] == pytest.approx(lines[0]["segmentation"] + lines[0]["auxiliary"])
    assert (whole / "figures" / "predictions.png").read_bytes()[:4] == b"\x89PNG"
    assert set(files.load_tensors(whole / MODEL)[0]) == set(weights(whole))


def test_a_stopped_run_ends_with_the_same_bits(vit, street, whole, tmp_path):
    out = tmp_path / "run"
    stopped_at(3, recipe(vit, street), out)
    assert not json.loads((out / SUMMARY).read_text())["finished"]
    transfer(recipe(vit, street), out, quiet=True)
    one, other = weights(whole), weights(out)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert [line["loss"] for line in files.read_jsonl(out / METRICS)] == [
        line["loss"] for line in files.read_jsonl(whole / METRICS)
    ]
    finished = contents(out)
    transfer(recipe(vit, street), out, quiet=True)
    assert contents(out) == finished


def test_a_killed_run_ends_with_the_same_bits(vit, street, whole, tmp_path, monkeypatch):
    out, advance = tmp_path / "run", Transfer.advance

    def advance_and_die(self, batch):
        if self.step == 3:
            raise ZeroDivisionError
        return advance(self, batch)

    asked = recipe(vit, street, checkpoint_every=2)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Transfer, "advance", advance_and_die)
        transfer(asked, out, quiet=True)
    assert [line["step"] for line in files.read_jsonl(out / METRICS)] == [1, 2, 3]
    assert json.loads((out / SUMMARY).read_text())["steps"] == 2
    transfer(asked, out, quiet=True)
    one, other = weights(whole), weights(out)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [line["loss"] for line in files.read_jsonl(out / METRICS)] == [
        line["loss"] for line in files.read_jsonl(whole / METRICS)
    ]


def test_a_frozen_encoder_is_unchanged_and_a_trained_one_is_not(vit, street, whole, tmp_path):
    before = files.load_tensors(vit)[0]
    transfer(recipe(vit, street, frozen=True), tmp_path / "frozen", quiet=True)
    prefix = "backbone.model."
    frozen, trained = weights(tmp_path / "frozen"), weights(whole)
    inside = [name for name in frozen if name.startswith(prefix)]
    assert inside and all(torch.equal(frozen[name], before[name.removeprefix(prefix)]) for name in inside)
    name = "blocks.0.attn.qkv.weight"
    assert not torch.equal(trained[prefix + name], before[name])


def test_a_finished_run_of_another_encoder_is_not_the_answer(vit, street, whole, tmp_path):
    other = tmp_path / "other.safetensors"
    tensors, described = files.load_tensors(vit)
    files.save_tensors(other, {name: x + 1 for name, x in tensors.items()}, described)
    refused(recipe(str(other), street), whole, "the encoder changed since this run began; choose another folder")
    moved = shutil.copytree(street, tmp_path / "street")
    assert transfer(recipe(vit, moved), whole, quiet=True)["finished"]  # the same images in another place
    shutil.copy(moved / "labels/train/0.png", moved / "labels/train/3.png")
    refused(recipe(vit, moved), whole, "the images or annotations changed since this run began")


def test_what_changed_since_a_run_began_is_refused(vit, swin, street, tmp_path):
    half = tmp_path / "half"
    moved = shutil.copytree(street, tmp_path / "street")
    stopped_at(2, recipe(vit, moved), half)
    refused(recipe(vit, moved, lr=1e-2), half, "lr is 0.001 there, 0.01 here")
    shutil.copy(moved / "labels/train/0.png", moved / "labels/train/3.png")
    refused(recipe(vit, moved), half, "the images or annotations changed since this run began")
    other = tmp_path / "other.safetensors"
    tensors, described = files.load_tensors(vit)
    files.save_tensors(other, {name: x + 1 for name, x in tensors.items()}, described)
    refused(recipe(str(other), street), half, "the encoder changed since this run began")


def test_of_two_that_begin_together_one_is_refused(vit, street, whole, tmp_path, monkeypatch):
    """The other process makes the folder, or ends its run in it, while this one reads its images."""
    out = tmp_path / "run"
    with contextlib.ExitStack() as stack:

        class Slow(Transfer):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                out.mkdir()
                stack.enter_context(locked(out))

        monkeypatch.setattr(module, "Transfer", Slow)
        with pytest.raises(rl.UserError, match="another process"):
            transfer(recipe(vit, street), out, quiet=True)
        assert [path.name for path in out.iterdir()] == [LOCK]

    class Slower(Transfer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            shutil.copytree(whole, out)

    shutil.rmtree(out)
    monkeypatch.setattr(module, "Transfer", Slower)
    transfer(recipe(vit, street), out, quiet=True)
    assert contents(out) == contents(whole)


def test_a_folder_of_pre_training_is_refused_and_the_other_way_round(vit, street, whole, tmp_path):
    files.write_json(tmp_path / RECIPE, {"framework": "simsiam"})
    refused(recipe(vit, street), tmp_path, "holds a run of pre-training")
    with pytest.raises(rl.UserError, match="a run of transfer .task=segmentation.; give a run of pre-training"):
        rl.load_run(whole)
    with pytest.raises(rl.UserError, match="out=.*: holds a run of transfer; choose an empty or new folder"):
        rl.train(rl.recipe("scenes", steps=1), whole, quiet=True)


def test_broken_masks_are_named_before_anything_is_written(vit, street, tmp_path):
    broken = shutil.copytree(street, tmp_path / "street")
    (broken / "labels/val/1.png").unlink()
    refused(recipe(vit, broken), tmp_path / "run", "1.png: no mask labels/val/1.png")


def test_the_control_learns_beside_it(vit, street, tmp_path):
    summary = transfer(recipe(vit, street, steps=1, control=True), tmp_path / "run", quiet=True)
    held = json.loads((tmp_path / "run" / "control" / RECIPE).read_text())
    control = json.loads((tmp_path / "run" / "control" / SUMMARY).read_text())
    assert held["untrained"] is True and summary["miou_untrained"] == control["miou"]
    assert json.loads((tmp_path / "run" / SUMMARY).read_text())["miou_untrained"] == control["miou"]


def test_an_untrained_encoder_is_its_own_control(street, tmp_path):
    asked = recipe("random", street, arch="vit_micro", steps=1)
    assert transfer(asked, tmp_path / "run", quiet=True)["finished"]
    refused(
        recipe("random", street, arch="vit_micro", control=True), tmp_path / "other", "the source random is the control"
    )
    refused(recipe("random", street), tmp_path / "other", "choose the encoder with arch=")


def test_scenes_need_no_data(swin, tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "SCENES_VAL", 6)
    asked = transfer_recipe(
        swin, "segmentation", "scenes", steps=2, batch_size=2, train_images=6, head_width=8, device="cpu"
    )
    summary = transfer(asked, tmp_path / "run", quiet=True)
    held = json.loads((tmp_path / "run" / RECIPE).read_text())
    assert (held["head"], held["short_side"], held["crop"]) == ("upernet", 32, 32)
    assert len(summary["iou"]) == 11 and summary["val_images"] == 6


def test_a_loss_that_is_not_finite_is_never_saved(vit, street, tmp_path):
    with pytest.raises(rl.UserError, match="the loss is not finite, and this step is not saved"):
        transfer(recipe(vit, street, lr=1e30, warmup_steps=0, optimiser="sgd"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


@pytest.fixture(scope="module")
def few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "SCENES_VAL", 3)
        yield


def detection(source, data=None, **changes):
    small = {
        "steps": 4,
        "batch_size": 2,
        "workers": 0,
        "device": "cpu",
        "head_width": 8,
        "regions": 8,
        "drop_path": 0.2,
    }
    scale = "scenes" if data is None else "folder"
    return transfer_recipe(source, "detection", scale, data=data and str(data), **(small | changes))


def test_a_stopped_detection_run_ends_with_the_same_bits(vit, few_scenes, tmp_path):
    asked = detection(vit, train_images=8)
    summary = transfer(asked, tmp_path / "whole", quiet=True)
    assert all(0 <= summary[name] <= 1 for name in ("box_map", "box_map50", "mask_map", "mask_map50"))
    stopped_at(2, asked, tmp_path / "half")
    transfer(asked, tmp_path / "half", quiet=True)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "half")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    lines = files.read_jsonl(tmp_path / "half" / METRICS)
    assert {"loss_mask", "loss_box_reg", "loss_objectness"} <= lines[0].keys() and len(lines) == 4
    assert (tmp_path / "half" / "figures" / "predictions.png").stat().st_size > 1000


def test_a_voc_folder_never_seen_trains_from_its_folder_alone(swin, voc, tmp_path):
    summary = transfer(detection(swin, voc, steps=2, frozen=True), tmp_path / "run", quiet=True)
    assert summary["finished"] and "box_map" in summary and "mask_map" not in summary
    held = json.loads((tmp_path / "run" / RECIPE).read_text())
    assert held["classes"] == ["axe", "saw"] and held["short_side"] == 29 and held["task"] == "detection"


def test_without_pycocotools_one_line_says_how_to_get_it(vit, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pycocotools" else find(name, *more)
    )
    refused(detection(vit), tmp_path / "run", "pip install 'repre-lite[transfer]'")
