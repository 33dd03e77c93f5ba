"""Images that stay in files: their views equal those of images in memory, for any workers, processes and first step."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from repre_lite.data.files import FileImages
from repre_lite.data.listing import list_images
from repre_lite.data.loaders import Batches
from repre_lite.data.reading import read_image
from repre_lite.data.stream import StepCrops, Stream
from repre_lite.data.views import View, Views
from repre_lite.data.workers import items, watched
from repre_lite.frameworks import framework_class
from repre_lite.runtime.errors import UserError


@pytest.fixture
def paths(photographs):
    return list_images(photographs / "train")


@pytest.mark.parametrize("framework", ["moco_v3", "simclr", "dino"])
def test_views_equal_those_of_images_in_memory(framework, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 26, 3), dtype=np.uint8)
    images = [Image.fromarray(n).resize((150, 120), Image.Resampling.BICUBIC) for n in noise]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    whole = torch.stack([torch.from_numpy(np.array(image)) for image in images]).permute(0, 3, 1, 2)
    batches, views = Batches(6, 6, seed=0), Views(framework_class(framework).views(112, 8), seed=5)
    indices, rows = batches.rows(2)
    crops = StepCrops(list_images(tmp_path), batches, views)[2]
    expected, made = views(whole[indices], 2, rows), views.finish(crops, 2, rows)
    assert len(made) == len(views.views)
    for view, one, other, crop in zip(views.views, expected, made, crops, strict=True):
        assert crop.dtype == torch.uint8 and one.shape == other.shape == (6, 3, view.size, view.size)
        assert (one - other).abs().mean() < 1 / 255  # a crop is rounded to whole levels, and colours amplify that


def test_without_colour_work_they_differ_by_rounding_alone(paths):
    views = Views(
        (View(64, jitter_p=0, grey=0, blur=0), View(64, jitter_p=0, grey=0, blur=0, interpolation="bicubic")), 1
    )
    batches = Batches(len(paths), 8, seed=0)
    indices, rows = batches.rows(0)
    made = views.finish(StepCrops(paths, batches, views)[0], 0, rows)
    for at, index in enumerate(indices.tolist()):  # sizes differ, so one by one
        image = torch.from_numpy(np.array(read_image(paths[index]))).permute(2, 0, 1)[None]
        for one, other in zip(views(image, 0, rows[at : at + 1]), made, strict=True):
            assert (one[0] - other[at]).abs().max() < 2.1 / 255  # rows and columns are rounded each


def test_workers_first_step_and_processes_change_nothing(paths):
    batches, views = Batches(len(paths), 8, seed=3), Views(framework_class("dino").views(112, 8), seed=3)
    crops = StepCrops(paths, batches, views)
    alone = [crops[step] for step in range(7)]  # more than two epochs of three steps
    stream = Stream(crops, 2, 7, workers=2, pinned=False)
    together = [stream.take() for _ in range(5)]
    assert stream.next_step == 7
    parts = [StepCrops(paths, Batches(len(paths), 8, 3, rank, 2), views)[4] for rank in range(2)]
    for view in range(len(views.views)):
        assert all(torch.equal(alone[step][view], together[step - 2][view]) for step in range(2, 7))
        assert torch.equal(torch.cat([part[view] for part in parts]), alone[4][view])
        assert not torch.equal(alone[0][view], alone[3][view])


class Items(Dataset):
    """Item 1 raises; making item 2 kills the worker that makes it."""

    def __getitem__(self, index):
        if index == 1:
            raise UserError("b.jpg: not a readable image")
        if index == 2 and os.getpid() != int(os.environ["MAIN_PROCESS"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_error_of_a_worker_is_one_line(workers, monkeypatch):
    monkeypatch.setenv("MAIN_PROCESS", str(os.getpid()))
    made = items(Items(), [0, 1, 3], workers)
    assert next(made) == 0
    with pytest.raises(UserError, match="^b.jpg: not a readable image$"):
        next(made)


def test_a_worker_that_dies_is_one_line(monkeypatch):
    monkeypatch.setenv("MAIN_PROCESS", str(os.getpid()))
    with pytest.raises(UserError, match="a process that reads images died"):
        list(items(Items(), [0, 2, 3], workers=1))


def test_a_pipe_that_the_reader_closed_is_not_a_dead_worker():
    with pytest.raises(BrokenPipeError), watched():  # `pretrain ... | head`
        raise BrokenPipeError
    with pytest.raises(UserError, match="a process that reads images died"), watched():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")


class SignalledAsItStarts(Dataset):
    """Its worker gets Ctrl-C and SIGTERM while it reads the data set, before it can have set anything."""

    def __setstate__(self, state):
        for signum in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), signum)

    def __getstate__(self):
        return {"nothing": None}

    def __getitem__(self, index):
        return index


def test_signals_do_not_end_a_worker_that_starts():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert list(items(SignalledAsItStarts(), [0, 1, 2], workers=2)) == [0, 1, 2]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_python_ends_though_a_worker_lives():
    """As it does after `next(rl.training_steps(recipe))` in a script."""
    script = (
        "from repre_lite.data.workers import items\nleft = items([5, 6, 7], [0, 1, 2], workers=1)\nprint(next(left))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout == "5\n" and ended.stderr == ""


def test_files_read_like_a_tensor(paths, tmp_path):
    images = FileImages(paths, 64)
    assert images.shape == (24, 3, 64, 64) and len(images) == 24
    whole = torch.cat(list(images.split(10)))
    assert whole.shape == images.shape and whole.dtype == torch.uint8
    assert torch.equal(images[3], whole[3]) and torch.equal(images[5:7], whole[5:7])
    assert torch.equal(images[torch.tensor([7, 2])], whole[[7, 2]]) and torch.equal(images.only([7])[:], whole[7:8])
    with pytest.raises(UserError, match="gone.jpg: no longer found"):
        FileImages([*paths, tmp_path / "gone.jpg"], 64)[:]
    assert list(FileImages([], 64).split(4)) == []
