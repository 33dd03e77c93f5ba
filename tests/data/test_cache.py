"""The cache: built once, in parallel or not, killed and resumed to the same bytes; disks that are full or read-only."""

import errno
import os
import signal
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from repre_lite.data import cache
from repre_lite.data.cache import CHUNK, build_cache, cache_name, cached, scaled, scaled_size
from repre_lite.data.files import FileImages
from repre_lite.data.listing import list_images
from repre_lite.data.loaders import Batches
from repre_lite.data.reading import read_image
from repre_lite.data.sources import load_source
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


def test_it_holds_every_image(paths, tmp_path, capsys):
    held = build_cache(paths, tmp_path / "c", workers=0)
    assert f"caching 24 images, {held.starts[-1] / 1e9:.2f} GB, in {tmp_path / 'c'}" in capsys.readouterr().out
    assert len(held) == 24 and (held.sizes.min(1) == 256).all()
    pixels = held.open()
    for index, path in enumerate(paths):
        image = read_image(path)
        expected = np.asarray(scaled(image, *scaled_size(path)))
        assert np.array_equal(held.image(pixels, index).numpy(), expected)
        assert abs(expected.shape[1] / expected.shape[0] - image.width / image.height) < 0.01
    again = build_cache(paths, tmp_path / "c", workers=0)
    assert capsys.readouterr().out == "" and np.array_equal(again.sizes, held.sizes)


def test_small_images_stay_as_they_are(tmp_path):
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
from repre_lite.data.listing import list_images
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


def test_its_place(paths, tmp_path, monkeypatch):
    images = FileImages(paths, 128)
    monkeypatch.setenv("REPRE_LITE_CACHE", str(tmp_path / "here"))
    assert cached(images, workers=0).pixels.parent == tmp_path / "here" / cache_name(images)
    monkeypatch.setenv("LOCAL_RANK", "1")  # others find it built
    assert cached(images, workers=0).pixels.parent == tmp_path / "here" / cache_name(images)
    monkeypatch.delenv("REPRE_LITE_CACHE")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.chdir(tmp_path)
    assert cached(images, workers=0).pixels.parts[:2] == ("data", "cache")


def test_a_disk_too_small_is_an_error_beforehand(paths, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda place: usage(10**7, 10**7 - 1000, 1000))
    with pytest.raises(UserError, match=r"needs another 0.01 GB, but only 0.00 GB are free; .*images=decode"):
        build_cache(paths, tmp_path / "c", workers=0)
    assert not np.fromfile(tmp_path / "c" / "done.u8", dtype=np.uint8).any()


def test_a_full_or_read_only_disk_is_an_error_and_the_build_resumes_later(paths, tmp_path, monkeypatch):
    synchronise, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written .No space left on device.; free space"):
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
    build_cache(paths, tmp_path / "whole", workers=0)  # a complete one is only read


def test_files_that_were_removed_are_made_again(paths, tmp_path):
    build_cache(paths, tmp_path / "c", workers=0)
    before = contents(tmp_path / "c")
    (tmp_path / "c" / "pixels.u8").unlink()
    build_cache(paths, tmp_path / "c", workers=0)
    assert contents(tmp_path / "c") == before and [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_unreadable_image_is_named(paths, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(paths[0].read_bytes()[:3000])
    (tmp_path / "text.jpg").write_text("no image")
    for bad in ("torn.jpg", "text.jpg"):
        with pytest.raises(UserError, match=f"{bad}: not a readable image .*skip_unreadable=True"):
            build_cache([*paths, tmp_path / bad], tmp_path / "c" / bad, workers=0)
    assert CHUNK == 64


def test_turned_images_keep_their_proportions(tmp_path):
    """Orientation is decided in one place for pixels and size, whatever the format does about it."""
    yy, xx = np.mgrid[:300, :600]
    disc = np.where(((yy - 150) ** 2 + (xx - 300) ** 2 < 120**2)[..., None], 255, 0).astype(np.uint8).repeat(3, 2)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(disc).save(tmp_path / "a.tif", tiffinfo={274: 6})
    Image.fromarray(disc).save(tmp_path / "b.tif", tiffinfo={274: 6}, compression="tiff_lzw")
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.fromarray(disc).save(tmp_path / name, exif=exif)
    paths = list_images(tmp_path)
    held = build_cache(paths, tmp_path / "cache", workers=0)
    assert held.sizes.tolist() == [[512, 256]] * 5
    for index in range(5):
        made = held.image(held.open(), index)[..., 0] > 128
        assert abs(int(made.any(0).sum()) - int(made.any(1).sum())) <= 2


def test_deep_images_are_scaled_by_the_rule_of_the_folder(tmp_path):
    for i, top in enumerate((200, 4000)):
        Image.fromarray(np.full((8, 8), top, np.uint16)).save(tmp_path / f"{i}.png")
    images = load_source("folder", tmp_path, 112).train.images
    held = build_cache(images.paths, tmp_path / "cache", 0, images.decoding)
    assert [int(held.image(held.open(), i).max()) for i in range(2)] == [13, 255]
    crops = [
        StepCrops(x, Batches(2, 2, 0), Views(framework_class("moco_v3").views(112, 16), 0))[0] for x in (images, held)
    ]
    assert torch.equal(crops[0][0], crops[1][0]) and crops[0][0].max() == 255
