"""The cache: built once, in parallel or not, killed and resumed to the same bytes, honest about its source and the disk."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from repre_lite.data import cache
from repre_lite.data.cache import CHUNK, build_cache, cached, fingerprint, scaled, scaled_size
from repre_lite.data.loaders import Batches
from repre_lite.data.reading import list_images, read_image
from repre_lite.data.stream import StepCrops
from repre_lite.data.views import Views
from repre_lite.frameworks import framework_class
from repre_lite.runtime.errors import UserError


@pytest.fixture
def paths(photographs, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 5)
    return list_images(photographs / "train")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_holds_every_picture(paths, tmp_path, capsys):
    held = build_cache(paths, tmp_path / "c", workers=0)
    assert f"caching 24 pictures, {held.starts[-1] / 1e9:.2f} GB, in {tmp_path / 'c'}" in capsys.readouterr().out
    assert len(held) == 24 and (held.sizes.min(1) == 256).all()
    pixels = held.open()
    for index, path in enumerate(paths):
        picture = read_image(path)
        expected = np.asarray(scaled(picture, *scaled_size(path)))
        assert np.array_equal(held.image(pixels, index).numpy(), expected)
        assert abs(expected.shape[1] / expected.shape[0] - picture.width / picture.height) < 0.01
    again = build_cache(paths, tmp_path / "c", workers=0)
    assert capsys.readouterr().out == "" and np.array_equal(again.sizes, held.sizes)


def test_small_pictures_stay_as_they_are(tmp_path):
    Image.new("RGB", (100, 80), (9, 8, 7)).save(tmp_path / "a.png")
    held = build_cache([tmp_path / "a.png"], tmp_path / "c", workers=0)
    assert held.sizes.tolist() == [[80, 100]]
    assert (held.image(held.open(), 0) == torch.tensor([9, 8, 7], dtype=torch.uint8)).all()


def test_crops_come_from_it(paths, tmp_path):
    batches, views = Batches(len(paths), 8, seed=0), Views(framework_class("moco_v3").views(112, 16), 0)
    large, small = (StepCrops(held, batches, views)[1] for held in (paths, build_cache(paths, tmp_path / "c", 0)))
    for one, other in zip(large, small, strict=True):  # the same places, from a slightly smaller picture
        assert one.shape == other.shape and (one.float() - other.float()).abs().mean() < 6


KILLED = """
import os, signal, sys
from pathlib import Path
from repre_lite.data import cache
from repre_lite.data.reading import list_images
cache.CHUNK, synchronise, calls = 5, os.fsync, []
def killing(descriptor):
    calls.append(synchronise(descriptor))
    if len(calls) == 3:  # of five chunks the third is written, and not marked
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = killing
cache.build_cache(list_images(Path(sys.argv[1])), Path(sys.argv[2]), workers=0)
"""


def test_killed_and_resumed_it_is_byte_for_byte_the_same(paths, photographs, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(photographs / "train"), str(tmp_path / "killed")], capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "done.u8").read_bytes() == bytes([1, 1, 0, 0, 0])
    build_cache(paths, tmp_path / "killed", workers=0)
    build_cache(paths, tmp_path / "whole", workers=2)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert (tmp_path / "whole" / "done.u8").read_bytes() == bytes([1] * 5)


def test_its_name_follows_the_source(photographs, tmp_path):
    root = shutil.copytree(photographs / "train", tmp_path / "train")  # keeps times
    paths = list_images(root)
    first = fingerprint(paths)
    assert first == fingerprint(list_images(photographs / "train")), "moving the whole folder changes nothing"
    assert fingerprint(paths[1:]) != first
    os.utime(paths[0], ns=(1, 1))
    assert (rewritten := fingerprint(paths)) != first
    paths[0].rename(paths[0].with_name("renamed.jpg"))
    assert fingerprint(list_images(root)) not in (first, rewritten)


def test_where_it_lies(paths, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRE_LITE_CACHE", str(tmp_path / "here"))
    assert cached(paths, workers=0).pixels.parent == tmp_path / "here" / fingerprint(paths)
    monkeypatch.setenv("LOCAL_RANK", "1")  # others find it built
    assert cached(paths, workers=0).pixels.parent == tmp_path / "here" / fingerprint(paths)
    monkeypatch.delenv("REPRE_LITE_CACHE")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.chdir(tmp_path)
    assert cached(paths, workers=0).pixels.parts[:2] == ("data", "cache")


def test_a_disk_too_small_is_said_beforehand(paths, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda place: usage(10**7, 10**7 - 1000, 1000))
    with pytest.raises(UserError, match=r"takes another 0.01 GB and 0.00 GB are free; .*--images decode"):
        build_cache(paths, tmp_path / "c", workers=0)
    assert not np.fromfile(tmp_path / "c" / "done.u8", dtype=np.uint8).any()


def test_a_disk_that_refuses_is_said_and_the_build_goes_on_later(paths, tmp_path, monkeypatch):
    synchronise, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written .No space left on device.; make room"):
        build_cache(paths, tmp_path / "c", workers=0)
    monkeypatch.setattr(os, "fsync", synchronise)
    build_cache(paths, tmp_path / "c", workers=0)
    build_cache(paths, tmp_path / "whole", workers=0)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")

    def read_only(self, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache.Path, "mkdir", read_only)
    with pytest.raises(UserError, match="Read-only file system"):
        build_cache(paths, tmp_path / "other" / "c", workers=0)
    build_cache(paths, tmp_path / "whole", workers=0)  # one that is whole is only read


def test_parts_that_were_removed_are_made_again(paths, tmp_path):
    build_cache(paths, tmp_path / "c", workers=0)
    before = contents(tmp_path / "c")
    (tmp_path / "c" / "pixels.u8").unlink()
    build_cache(paths, tmp_path / "c", workers=0)
    assert contents(tmp_path / "c") == before and [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_unreadable_picture_is_named(paths, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(paths[0].read_bytes()[:3000])
    (tmp_path / "text.jpg").write_text("no picture")
    for bad in ("torn.jpg", "text.jpg"):
        with pytest.raises(UserError, match=f"{bad}: not a readable picture .*--skip-unreadable"):
            build_cache([*paths, tmp_path / bad], tmp_path / "c" / bad, workers=0)
    assert CHUNK == 64
