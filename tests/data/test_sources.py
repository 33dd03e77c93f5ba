"""Every kind of picture file and folder: read as RGB, or one clear line."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from repre_lite.data.pictures import choose
from repre_lite.data.reading import list_pictures, read_picture, read_squares
from repre_lite.data.sources import load_source
from repre_lite.runtime.errors import UserError

RED = (200, 30, 40)


def save(path, mode="RGB", size=(9, 7), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, RED)
    picture = picture.convert(mode) if mode not in ("I;16",) else Image.fromarray(np.full(size[::-1], 40000, np.uint16))
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("LA", "a.png"),
        ("P", "a.png"),
        ("RGBA", "a.png"),
        ("CMYK", "a.jpg"),
        ("1", "a.png"),
        ("RGB", "a.webp"),
    ],
)
def test_every_mode_is_read_as_rgb(mode, name, tmp_path):
    picture = read_picture(save(tmp_path / name, mode))
    assert picture.mode == "RGB" and picture.size == (9, 7)
    if mode not in ("L", "LA", "1"):
        assert np.abs(np.asarray(picture)[3, 3].astype(int) - RED).max() < 26


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    value = np.asarray(read_picture(save(tmp_path / "a.png", "I;16")))[0, 0]
    assert value.tolist() == [156] * 3  # 40000 / 65535 * 255


def test_transparency_lies_over_white_and_photographs_stand_upright(tmp_path):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert np.asarray(read_picture(tmp_path / "clear.png")).min() == 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert read_picture(save(tmp_path / "turned.jpg", exif=exif)).size == (7, 9)


def test_other_files_are_not_looked_at(tmp_path):
    save(tmp_path / "b.png")
    save(tmp_path / "sub" / "a.JPG")
    save(tmp_path / ".hidden" / "c.png")
    (tmp_path / "Thumbs.db").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in list_pictures(tmp_path)] == ["b.png", "a.JPG"]


def test_unreadable_pictures_are_named_or_skipped(tmp_path):
    good, bad = save(tmp_path / "a.png"), save(tmp_path / "b.png")
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(UserError, match="b.png"):
        read_squares([good, bad], 8, False, "reading")
    images, kept = read_squares([bad, good], 8, True, "reading")
    assert images.shape == (1, 3, 8, 8) and kept == [1]


def labelled(root, counts):
    for part, classes in counts.items():
        for name, count in classes.items():
            for i in range(count):
                save(root / part / name / f"{i}.png", size=(20, 16))
    return root


def test_a_labelled_tree(tmp_path):
    source = load_source("folder", str(labelled(tmp_path, {"train": {"b": 4, "a": 3}, "val": {"a": 2, "b": 1}})), 16)
    assert source.train.images.shape == (7, 3, 16, 16) and source.train.images.dtype == torch.uint8
    assert source.train.classes == ("a", "b") and source.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert source.val.labels.tolist() == [0, 0, 1] and source.skipped == 0
    again = load_source("folder", str(tmp_path), 16)
    assert again.fingerprint == source.fingerprint
    assert len(load_source("folder", str(tmp_path), 16, train_images=4).train.labels.bincount()) == 2


def test_a_flat_folder_needs_no_labels(tmp_path):
    for i in range(3):
        save(tmp_path / "deep" / f"{i}" / "x.png")
    source = load_source("folder", str(tmp_path), 8)
    assert source.train.labels is None and source.val is None and len(source.train) == 3


def test_what_is_wrong_with_a_tree_is_said(tmp_path):
    good = labelled(tmp_path / "good", {"train": {"a": 2}, "val": {"other": 1}})
    empty = labelled(tmp_path / "empty", {"train": {"a": 2}})
    (empty / "val").mkdir()
    save(tmp_path / "loose" / "train" / "x.png")
    save(tmp_path / "loose" / "train" / "y.png")
    (tmp_path / "bare" / "train").mkdir(parents=True)
    for scale, folder, words in (
        ("folder", good, "class 'other'"),
        ("folder", empty, "no pictures"),
        ("cifar10", tmp_path / "loose", "class folders"),
        ("cifar10", tmp_path / "bare", "at least 2"),
        ("imagenet1k", tmp_path, "no train/ folder"),
        ("folder", tmp_path / "nowhere", "no such folder"),
    ):
        with pytest.raises(UserError, match=words):
            load_source(scale, str(folder), 16)


def test_torchvisions_root_is_recognised(tmp_path, monkeypatch):
    import torchvision

    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for name in names:
        data = {"data": np.full((4, 3072), 7, np.uint8), "labels": [0, 1, 2, 3]}
        (root / name).write_bytes(pickle.dumps(data))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    source = load_source("cifar10", str(tmp_path), 32, train_images=8)
    assert source.train.images.shape == (8, 3, 32, 32) and source.train.labels.bincount().tolist() == [2, 2, 2, 2]


def test_subsets_are_even_and_seeded():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 5)
    chosen = choose(labels, 20, seed=0)
    assert labels[chosen].bincount().tolist() == [8, 7, 5] and torch.equal(chosen, chosen.sort().values)
    assert torch.equal(chosen, choose(labels, 20, 0)) and not torch.equal(chosen, choose(labels, 20, 1))


def test_real_pictures(cifar10):
    source = load_source("cifar10", str(cifar10), 32, train_images=200)
    assert source.train.images.shape == (200, 3, 32, 32) and source.train.labels.bincount().tolist() == [20] * 10
    assert len(source.val) == 10_000 and 100 < source.train.images.float().mean() < 140
