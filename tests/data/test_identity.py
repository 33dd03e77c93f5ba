"""A fingerprint follows the contents: whatever is replaced, added or renamed changes it, and nothing else does."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from repre_lite.data.cache import cache_name
from repre_lite.data.files import FileImages
from repre_lite.data.identity import BLOCK, fingerprint
from repre_lite.data.levels import Levels
from repre_lite.data.listing import list_images
from repre_lite.data.reading import Decoding
from repre_lite.data.sources import load_source


def plates(folder, seed, count=6, side=80):
    """Uncompressed images that agree in name, size and time for every seed."""
    folder.mkdir(parents=True)
    for i in range(count):
        noise = np.random.default_rng([seed, i]).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.tif")
        os.utime(folder / f"{i}.tif", (315532800, 315532800))
    return folder


def test_a_moved_folder_keeps_its_fingerprint(photographs, tmp_path):
    root = shutil.copytree(photographs / "train", tmp_path / "train")  # keeps times
    paths = list_images(root)
    first = fingerprint(paths)
    assert first == fingerprint(list_images(photographs / "train"))
    assert fingerprint(paths[1:]) != first
    os.utime(paths[0], ns=(1, 1))
    assert (rewritten := fingerprint(paths)) != first
    paths[0].rename(paths[0].with_name("renamed.jpg"))
    assert fingerprint(list_images(root)) not in (first, rewritten)


def test_contents_count_where_name_size_and_time_agree(tmp_path):
    one, other = list_images(plates(tmp_path / "1", 1)), list_images(plates(tmp_path / "2", 2))
    assert [p.stat().st_size for p in one] == [p.stat().st_size for p in other]
    assert fingerprint(one) != fingerprint(other)
    before = fingerprint(one)
    shutil.copy2(other[3], one[3])
    assert fingerprint(one) != before


@pytest.mark.parametrize("at", [0, BLOCK - 1, 25_000, 49_999])
def test_beginning_middle_and_end_are_compared(at, tmp_path):
    path = tmp_path / "a.bin"
    contents = bytearray(50_000)
    path.write_bytes(contents)
    os.utime(path, (1, 1))
    before = fingerprint([path])
    contents[at] = 1
    path.write_bytes(contents)
    os.utime(path, (1, 1))
    assert fingerprint([path]) != before


def test_a_cache_belongs_to_a_place_and_a_rule(tmp_path):
    one = list_images(plates(tmp_path / "1", 1))
    copy = list_images(shutil.copytree(tmp_path / "1", tmp_path / "copy"))
    assert fingerprint(one) == fingerprint(copy)
    names = {
        cache_name(FileImages(one, 128)),
        cache_name(FileImages(copy, 128)),
        cache_name(FileImages(one[1:], 128)),
        cache_name(FileImages(one, 128, Decoding(Levels((0, 4095))))),
    }
    assert len(names) == 4 and cache_name(FileImages(one, 64, Decoding(max_pixels=10**9))) in names


@pytest.mark.parametrize("size", [16, 112])
def test_a_source_notices_a_replaced_image(size, tmp_path):
    one, other = plates(tmp_path / "1", 1), plates(tmp_path / "2", 2)
    first = load_source("folder", one, size).fingerprint
    assert load_source("folder", one, size).fingerprint == first != load_source("folder", other, size).fingerprint
    shutil.copy2(other / "3.tif", one / "3.tif")
    assert load_source("folder", one, size).fingerprint != first


@pytest.mark.parametrize("size", [16, 112])
def test_a_source_notices_labels(size, tmp_path):
    plates(tmp_path / "t" / "train" / "a", 1)
    (tmp_path / "t" / "train" / "b").mkdir()
    shutil.move(tmp_path / "t" / "train" / "a" / "5.tif", tmp_path / "t" / "train" / "b" / "5.tif")
    first = load_source("folder", tmp_path / "t", size).fingerprint
    shutil.move(tmp_path / "t" / "train" / "a" / "4.tif", tmp_path / "t" / "train" / "b" / "4.tif")
    assert load_source("folder", tmp_path / "t", size).fingerprint != first
