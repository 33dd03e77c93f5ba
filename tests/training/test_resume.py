"""A run is resumed exactly, or one line says why not, and then nothing changes in its folder."""

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from small import TINY

import repre_lite as rl
from repre_lite.evaluation.results import DENSE
from repre_lite.runs import CHECKPOINT, DECODER, ENCODER, METRICS, RECIPE, SUMMARY, merge_summary
from repre_lite.runtime import files
from repre_lite.runtime.device import Precision
from repre_lite.runtime.lock import LOCK, locked
from repre_lite.training import loop, nonfinite
from repre_lite.training import train as module
from repre_lite.training.train import Stopped, train

SMALL = {"steps": 6, "batch_size": 4, "workers": 0, "arch": "vit_micro", "encoder": TINY, "decoder_width": 8,
         "method": {"hidden": 16, "out": 8}, "device": "cpu"}  # fmt: skip


def image(path, colour):
    generator = torch.Generator().manual_seed(colour)
    pixels = torch.randint(colour, 255, (40, 48, 3), dtype=torch.uint8, generator=generator)
    Image.fromarray(pixels.numpy()).save(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "images"
    folder.mkdir()
    for number in range(8):
        image(folder / f"{number}.png", number)
    return folder


@pytest.fixture(scope="module")
def recipe(images):
    return rl.recipe("folder", "moco_v3", size="small", data=str(images), **SMALL)


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(recipe, out, quiet=True)
    return out


@pytest.fixture(scope="module")
def half(recipe, tmp_path_factory):
    """A run stopped after three of six steps."""
    out = tmp_path_factory.mktemp("half") / "run"
    stop_at(3, recipe, out)
    return out


@pytest.fixture
def run(half, tmp_path):
    return shutil.copytree(half, tmp_path / "run")


def stop_at(step, recipe, out):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_agreed", lambda received, training, pace: 15 if training.step == step else 0)
        with pytest.raises(Stopped, match=f"step {step} of"):
            train(recipe, out, quiet=True)


def same(one, other):
    one, other = (torch.load(folder / CHECKPOINT, weights_only=True)["model"] for folder in (one, other))
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in tensors)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(recipe, out, says):
    """The one line that is said; the folder stays as it was."""
    before = contents(out)
    with pytest.raises(rl.UserError, match=says) as told:
        train(recipe, out, quiet=True)
    assert contents(out) == before and "\n" not in str(told.value)
    return str(told.value)


def test_a_stopped_run_ends_with_the_same_bits(recipe, whole, run):
    train(recipe, run, quiet=True)
    assert same(run, whole) and not (run / LOCK).exists()
    assert [line["loss"] for line in rl.load_run(run).metrics] == [line["loss"] for line in rl.load_run(whole).metrics]


# images


@pytest.mark.parametrize("change", ["one removed", "one added", "one replaced"])
def test_changed_images_are_refused_and_restored_ones_are_not(change, recipe, images, whole, run, tmp_path):
    moved = shutil.copytree(images, tmp_path / "images")
    elsewhere = dataclasses.replace(recipe, data=str(moved))
    if change == "one removed":
        (moved / "0.png").unlink()
    else:
        image(moved / ("0.png" if change == "one replaced" else "new.png"), 99)
    counts = {"one removed": "8 then, 7 now", "one added": "8 then, 9 now", "one replaced": "8 then, 8 now"}[change]
    line = refused(elsewhere, run, counts)
    assert str(run) in line and "restore them" in line and "choose another folder" in line
    shutil.rmtree(moved)
    shutil.copytree(images, moved)
    train(elsewhere, run, quiet=True)
    assert same(run, whole)


def test_a_finished_run_is_finished_whatever_became_of_its_images(recipe, whole, tmp_path, capsys):
    before = contents(whole)
    train(dataclasses.replace(recipe, data=str(tmp_path / "nowhere")), whole)
    assert "this run is finished" in capsys.readouterr().out and contents(whole) == before


def test_recipe_and_encoder_agree(whole):
    facts = json.loads((whole / RECIPE).read_text())
    _, metadata = files.load_tensors(whole / ENCODER)
    for name in ("mean", "std"):
        assert json.loads(metadata[name]) == pytest.approx(facts[name], abs=1e-7)
    summary = json.loads((whole / SUMMARY).read_text())
    assert facts["image_count"] == 8 and facts["total_steps"] == summary["steps"] == 6 and summary["finished"]
    assert facts["peak_lr"] == rl.load_run(whole).recipe.peak_lr


# another machine


@pytest.mark.parametrize("scaled_first", [False, True])
def test_gradient_scaling_may_begin_or_end(scaled_first, recipe, run, tmp_path, monkeypatch, capsys):
    def scaled(name, device):
        return Precision("fp16", compute=torch.bfloat16, scaled=True)

    def resumed():
        train(recipe, run)
        assert "this run was started with precision_used" in capsys.readouterr().out
        note = json.loads((run / RECIPE).read_text())["resumed"][-1]
        assert note == {"step": 3, "precision_used": "fp32" if scaled_first else "fp16"}
        assert rl.load_run(run).summary["finished"]

    if scaled_first:
        shutil.rmtree(run)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "pick_precision", scaled)
            stop_at(3, recipe, run)
        assert torch.load(run / CHECKPOINT, weights_only=True)["scaler"]
        resumed()
    else:
        monkeypatch.setattr(loop, "pick_precision", scaled)
        resumed()


def test_the_form_of_the_optimiser_follows_the_device(recipe, whole, run):
    """As from a device without a fused AdamW: the checkpoint's form is not taken over."""
    state = torch.load(run / CHECKPOINT, weights_only=True)
    for group in state["optimiser"]["param_groups"]:
        group["fused"] = False
    torch.save(state, run / CHECKPOINT)
    training = loop.Training(recipe)
    training.load(state)
    assert all(group["fused"] for group in training.optimiser.param_groups)
    train(recipe, run, quiet=True)
    assert same(run, whole)


# files


def test_a_checkpoint_beyond_the_last_step_is_refused(recipe, run):
    state = torch.load(run / CHECKPOINT, weights_only=True)
    torch.save(state | {"step": 7}, run / CHECKPOINT)
    assert "beyond the 6 steps" in refused(recipe, run, "step 7")


def test_files_of_others_are_told_apart(recipe, whole, run, tmp_path):
    good = torch.load(run / CHECKPOINT, weights_only=True)
    other = good | {"recipe": good["recipe"] | {"seed": 5}}
    newer = {name: value for name, value in good.items() if name != "recipe"} | {"model": {}}
    torch.save({"state_dict": {}}, run / CHECKPOINT)
    lines = [refused(recipe, run, "not a checkpoint of repre-lite")]
    torch.save(other, run / CHECKPOINT)
    lines.append(refused(recipe, run, "checkpoint of another run .seed is 5 there, 0"))
    torch.save(newer, run / CHECKPOINT)
    lines.append(refused(recipe, run, "does not fit recipe.json"))
    (run / CHECKPOINT).write_bytes(b"PK")
    lines.append(refused(recipe, run, "truncated"))
    facts = json.loads((run / RECIPE).read_text())
    torch.save(newer, run / CHECKPOINT)
    (run / RECIPE).write_text(json.dumps(facts | {"versions": {"repre_lite": "0.0.1"}}))
    lines.append(refused(recipe, run, "written by repre-lite 0.0.1, this is"))
    (run / RECIPE).write_text(json.dumps({"framework": "dino", "mean": [], "versions": {"repre_lite": "9.1"}}))
    lines.append(refused(recipe, run, "written by repre-lite 9.1, this is"))
    (run / RECIPE).write_text("[1]")
    lines.append(refused(recipe, run, "damaged"))
    (run / RECIPE).write_text('{"name": "cake"}')
    lines.append(refused(recipe, run, "not written by repre-lite"))
    (run / RECIPE).write_text(json.dumps(facts))
    torch.save(good, run / CHECKPOINT)
    lines.append(refused(dataclasses.replace(recipe, seed=1), run, "another recipe .seed is 0 there, 1 here"))
    (run / RECIPE).unlink()
    lines.append(refused(recipe, run, "other files and no run"))
    assert not any(word in line for line in lines for word in ("remove", "delete", "rm "))
    shutil.copy(whole / RECIPE, run)
    train(recipe, run, quiet=True)
    assert same(run, whole)


@pytest.mark.parametrize("harm", ["deleted", "torn", "zeros", "foreign"])
def test_metrics_that_were_lost_do_not_matter(harm, recipe, whole, run):
    path = run / METRICS
    data = path.read_bytes()
    match harm:
        case "deleted":
            path.unlink()
        case "torn":
            path.write_bytes(data[:-20])
        case "zeros":
            path.write_bytes(data.replace(b"\n", b"\n\0\0\0\n", 1))
        case "foreign":
            path.write_bytes(b'[]\n{"name": 1}\n' + data)
    assert rl.load_run(run).metrics is not None
    train(recipe, run, quiet=True)
    assert same(run, whole)
    kept = {"deleted": 0, "torn": 2}.get(harm, 3)
    assert [line["step"] for line in rl.load_run(run).metrics] == [*range(1, kept + 1), 4, 5, 6]


def test_options_of_how_are_those_of_the_last_call(recipe, run):
    train(dataclasses.replace(recipe, workers=1, checkpoint_every=1), run, quiet=True)
    assert rl.load_run(run).recipe.workers == 1


# kills near the end


def test_killed_after_the_results_and_before_the_last_checkpoint(recipe, whole, run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "save_checkpoint", lambda path, state: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run, quiet=True)
    assert (run / ENCODER).exists() and not rl.load_run(run).summary["finished"]
    train(recipe, run, quiet=True)
    assert same(run, whole) and len(rl.load_run(run).metrics) == 6


def test_killed_after_the_last_checkpoint(recipe, whole, run, monkeypatch):
    save = files.save_checkpoint

    def killed(path, state):
        save(path, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run, quiet=True)
    assert not rl.load_run(run).summary["finished"]
    (run / ENCODER).unlink()  # as an older version left it
    monkeypatch.setattr(loop.Training, "advance", None)
    train(recipe, run, quiet=True)
    summary, expected = rl.load_run(run).summary, rl.load_run(whole).summary
    assert summary["finished"] and summary["loss"] == expected["loss"] and (run / ENCODER).exists()
    assert summary.keys() == expected.keys() and (run / DECODER).exists()


# folders


def test_a_run_is_opened_from_anywhere_and_moved(recipe, images, whole, tmp_path, monkeypatch):
    shutil.copytree(images, tmp_path / "here" / "images")
    monkeypatch.chdir(tmp_path / "here")
    train(dataclasses.replace(recipe, data="images", steps=2), "run", quiet=True)
    monkeypatch.chdir(tmp_path)
    Path("here/run").rename("moved")
    loaded = rl.load_run("moved")
    monkeypatch.chdir(images)
    assert len(loaded.images()) == 8 and Path(loaded.recipe.data) == tmp_path / "here" / "images"
    assert loaded.at(0) is not None and loaded.folder == tmp_path / "moved"
    assert len(rl.load_run(whole).images()) == 8


def test_loading_writes_nothing(whole, recipe, tmp_path, monkeypatch):
    run = shutil.copytree(whole, tmp_path / "run")

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    before = contents(run)
    monkeypatch.setattr(files.tempfile, "mkstemp", refused)
    monkeypatch.setattr(os, "open", refused)
    assert rl.load_run(run).summary["finished"]
    train(recipe, run, quiet=True)
    assert contents(run) == before


def test_a_folder_in_use_is_refused(recipe, whole, run, tmp_path):
    with locked(run):
        (line,) = {refused(recipe, run, "another process"), refused(recipe, run, "another process")}
    assert str(run) in line
    empty = tmp_path / "empty"
    empty.mkdir()
    with locked(empty):
        refused(recipe, empty, "another process")
    train(recipe, run, quiet=True)
    assert same(run, whole)


def test_what_was_measured_of_an_unfinished_run_is_gone_once_it_trains_on(recipe, whole, run, monkeypatch):
    """Accuracies of step 3 are none of step 5 or 6; those of a finished run stay."""
    merge_summary(run, {"knn_top1": 0.5})
    (run / DENSE).write_text("{}")
    stop_at(5, recipe, run)
    assert "knn_top1" not in json.loads((run / SUMMARY).read_text()) and not (run / DENSE).exists()
    merge_summary(run, {"knn_top1": 0.5})
    train(recipe, run, quiet=True)
    assert "knn_top1" not in json.loads((run / SUMMARY).read_text()) and same(run, whole)
    merge_summary(run, {"knn_top1": 0.5})
    train(recipe, run, quiet=True)
    assert json.loads((run / SUMMARY).read_text())["knn_top1"] == 0.5


def test_of_two_that_begin_together_one_is_refused(recipe, whole, tmp_path, monkeypatch):
    """The other process makes the folder while this one reads its images."""
    out = tmp_path / "run"
    with contextlib.ExitStack() as stack:

        class Slow(loop.Training):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                out.mkdir()
                stack.enter_context(locked(out))

        monkeypatch.setattr(module, "Training", Slow)
        with pytest.raises(rl.UserError, match="another process"):
            train(recipe, out, quiet=True)
        assert [path.name for path in out.iterdir()] == [LOCK]
    monkeypatch.undo()
    train(recipe, out, quiet=True)
    assert same(out, whole)


def test_what_a_process_left_that_was_killed_before_it_began_is_nothing(recipe, whole, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / LOCK).write_text("process 1 on a")
    (out / f"{files.TEMPORARY}abc").write_text("{")
    train(recipe, out, quiet=True)
    assert same(out, whole) and not list(out.glob(".*"))


def test_invalid_input_leaves_nothing(recipe, tmp_path):
    for out in (tmp_path / "new" / "run", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(rl.UserError, match="batch.size.9"):
            train(dataclasses.replace(recipe, batch_size=9), out, quiet=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"] and not list((tmp_path / "empty").iterdir())


# memory


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_out_of_memory_keeps_the_checkpoint(error, recipe, whole, run, monkeypatch):
    def full(self):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "make_views", full)
        with pytest.raises(rl.UserError, match="out of memory.*batch_size="):
            train(recipe, run, quiet=True)
        with pytest.raises(rl.UserError, match="out of memory.*batch_size="):
            next(rl.training_steps(recipe))
    train(recipe, run, quiet=True)
    assert same(run, whole)


def test_nothing_is_kept_of_a_step_that_was_finite(whole):
    assert not (whole / nonfinite.NONFINITE).exists()
