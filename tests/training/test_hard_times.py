"""Full disks, foreign files, vanished images, killed workers: one clear line, a status that is not 0, and a run to resume."""

import errno
import os
import shutil
import signal
import tempfile
from multiprocessing import active_children

import pytest
import torch

from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.runs import CHECKPOINT, METRICS
from repre_lite.runtime import files
from repre_lite.training.loop import Training

SMALL = "--arch vit_micro --steps 6 --batch-size 8 --checkpoint-every 2 --decoder-width 8 --workers 0"


def pretrain(out, *more):
    options = more or ("--scale", "scenes", "--train-images", "32")
    return main(["pretrain", "--out", str(out), *SMALL.split(), *options])


def one_line(capsys):
    """What was said on standard error besides the bar, which must be one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("repre-lite: ")]
    assert len(lines) == 1
    return lines[0]


def held(out):
    return files.load_checkpoint(out / CHECKPOINT)


def same(one, other):
    one, other = held(one)["model"], held(other)["model"]
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in tensors)


def after(step, happens, monkeypatch):
    """`happens` once that step is done."""
    advance = Training.advance

    def watched(self):
        result = advance(self)
        if self.step == step:
            happens()
        return result

    monkeypatch.setattr(Training, "advance", watched)


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 100)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "run"
    assert pretrain(out) == 0
    return out


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_disk_that_stops_taking_checkpoints(number, says, undisturbed, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    make = tempfile.mkstemp

    def refusing(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        after(3, lambda: patch.setattr(tempfile, "mkstemp", refusing), patch)
        assert pretrain(out) == 2
    assert says in (line := one_line(capsys)) and str(out / CHECKPOINT) in line and "free space" in line
    assert held(out)["step"] == 2 and tempfile.mkstemp is make
    assert pretrain(out) == 0
    assert "resuming at step 2 of 6" in capsys.readouterr().out and same(out, undisturbed)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a Linux device that is always full")
def test_a_disk_too_full_for_a_line_of_metrics(undisturbed, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"

    def fill():
        shutil.move(out / METRICS, tmp_path / "kept")
        (out / METRICS).symlink_to("/dev/full")

    with monkeypatch.context() as patch:
        after(5, fill, patch)
        assert pretrain(out) == 2
    assert "No space left" in (line := one_line(capsys)) and METRICS in line
    (out / METRICS).unlink()
    with open(tmp_path / "kept", "a") as torn:  # as a disk that filled within a line leaves it
        torn.write('{"step": 5, "lo')
    shutil.move(tmp_path / "kept", out / METRICS)
    assert pretrain(out) == 0 and same(out, undisturbed)
    assert [line["step"] for line in files.read_jsonl(out / METRICS)] == [1, 2, 3, 4, 5, 6]


def test_a_place_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    assert pretrain(tmp_path / "file" / "run") == 2
    assert "--out" in one_line(capsys)
    if os.geteuid():  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        assert pretrain(tmp_path / "closed" / "run") == 2
        assert "Permission denied" in one_line(capsys)


def test_a_checkpoint_cut_short_or_foreign(undisturbed, tmp_path, capsys):
    out = shutil.copytree(undisturbed, tmp_path / "run")
    good = (out / CHECKPOINT).read_bytes()
    (out / "summary.json").write_text('{"finished": false, "steps": 4}')
    foreign = {"state_dict": {"weight": torch.zeros(2)}}
    other = {"step": 2, "model": {"weight": torch.zeros(2)}, "optimiser": {}, "scaler": {}}
    for broken in (good[: len(good) // 2], b"", b"text", foreign, other, OSError):
        if isinstance(broken, bytes):
            (out / CHECKPOINT).write_bytes(broken)
        else:
            torch.save(broken, out / CHECKPOINT)
        for command in (
            ["pretrain", "--out", str(out), *SMALL.split(), "--train-images", "32"],
            ["evaluate", str(out)],
        ):
            assert main(command) == 2
            assert CHECKPOINT in one_line(capsys)
    (out / CHECKPOINT).unlink()
    assert pretrain(out) == 0 and same(out, undisturbed)
    assert len(files.read_jsonl(out / METRICS)) == 6


@pytest.fixture
def images(photographs, tmp_path):
    return shutil.copytree(photographs, tmp_path / "images")


def large(images, *more):
    return ("--scale", "folder", "--data", str(images), "--image-size", "112", "--patch-size", "16", *more)


def test_images_that_vanish_and_workers_that_are_killed(images, tmp_path, capsys, monkeypatch):
    """Both in one run: after step 2 of 6 the images vanish, after step 5 the process that reads them is killed."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert pretrain(whole, *large(images)) == 0
    capsys.readouterr()
    away = tmp_path / "away"
    with monkeypatch.context() as patch:
        after(2, lambda: (images / "train" / "even").rename(away), patch)
        assert pretrain(out, *large(images)) == 2
    assert "no longer found" in (line := one_line(capsys)) and str(images / "train" / "even") in line
    assert held(out)["step"] == 2
    away.rename(images / "train" / "even")

    def kill():
        for process in active_children():
            os.kill(process.pid, signal.SIGKILL)
            process.join()  # a busy machine takes its time

    with monkeypatch.context() as patch:
        after(5, kill, patch)
        assert pretrain(out, *large(images, "--workers", "1")) == 2
    assert "a process that reads images died" in one_line(capsys)
    assert held(out)["step"] == 4
    assert pretrain(out, *large(images)) == 0 and same(out, whole)


def test_images_that_cannot_be_read(images, tmp_path, capsys, monkeypatch):
    """One ends a run, which is then resumed without it, and ends as a run that left it out from the start."""
    monkeypatch.setattr(sources, "measure", lambda images: ((0.5,) * 3, (0.25,) * 3))  # without reading every image
    torn = images / "train" / "odd" / "01.jpg"
    torn.write_bytes(torn.read_bytes()[:2000])
    one, other = tmp_path / "one", tmp_path / "other"
    assert pretrain(one, *large(images)) == 2
    assert f"{torn}: not a readable image" in (line := one_line(capsys))
    assert line.endswith("or use --skip-unreadable, also to resume a run")  # what is done next
    assert held(one)["step"] == 2
    assert pretrain(one, *large(images, "--skip-unreadable")) == 0
    assert pretrain(other, *large(images, "--skip-unreadable")) == 0
    assert same(one, other) and '"skipped_images": 1' in (other / "summary.json").read_text()
