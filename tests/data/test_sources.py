"""Every kind of picture file and folder: read as RGB, or one clear line."""

import pickle
import shutil
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image

from repre_lite.data.files import FileImages
from repre_lite.data.image_set import choose
from repre_lite.data.reading import list_images, read_image, read_squares
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
    picture = read_image(save(tmp_path / name, mode))
    assert picture.mode == "RGB" and picture.size == (9, 7)
    if mode not in ("L", "LA", "1"):
        assert np.abs(np.asarray(picture)[3, 3].astype(int) - RED).max() < 26


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    value = np.asarray(read_image(save(tmp_path / "a.png", "I;16")))[0, 0]
    assert value.tolist() == [156] * 3  # 40000 / 65535 * 255


def test_transparency_lies_over_white_and_photographs_stand_upright(tmp_path):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert np.asarray(read_image(tmp_path / "clear.png")).min() == 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert read_image(save(tmp_path / "turned.jpg", exif=exif)).size == (7, 9)


def test_other_files_are_not_looked_at(tmp_path):
    save(tmp_path / "b.png")
    save(tmp_path / "sub" / "a.JPG")
    save(tmp_path / ".hidden" / "c.png")
    (tmp_path / "Thumbs.db").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in list_images(tmp_path)] == ["b.png", "a.JPG"]


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
    flat = labelled(tmp_path / "flat", {"train": {"a": 2}, "val": {"": 2}})
    save(tmp_path / "loose" / "train" / "x.png")
    save(tmp_path / "loose" / "train" / "y.png")
    (tmp_path / "bare" / "train").mkdir(parents=True)
    for scale, folder, words in (
        ("folder", good, "class 'other'"),
        ("folder", empty, "no pictures"),
        ("folder", flat, "outside of class folders"),
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


def stl(root, unlabelled=20):
    """The files of torchvision's STL10 with 10 labelled, some unlabelled and 10 test pictures."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("\n".join("abcdefghij") + "\n")
    (folder / "fold_indices.txt").write_text("")
    for name, count, grey in (("train", 10, 50), ("unlabeled", unlabelled, 90), ("test", 10, 200)):
        np.full(count * 3 * 96 * 96, grey, np.uint8).tofile(folder / f"{name}_X.bin")
        if name != "unlabeled":
            np.arange(1, count + 1, dtype=np.uint8).tofile(folder / f"{name}_y.bin")
    return root


def test_stl_trains_on_all_and_is_judged_by_its_labelled_pictures(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    source = load_source("stl10", str(stl(tmp_path)), 64)
    assert source.train.images.shape == (30, 3, 96, 96) and source.train.labels is None
    assert source.labelled.labels.tolist() == list(range(10)) and (source.labelled.images == 50).all()
    assert source.val.labels.tolist() == list(range(10)) and (source.val.images == 200).all()
    assert source.train.images[:, 0, 0, 0].unique().tolist() == [50, 90] and source.val.classes == tuple("abcdefghij")
    assert len(load_source("stl10", str(tmp_path), 64, train_images=12).train) == 12


def test_stl_as_a_tree(tmp_path):
    counts = {"train": {"a": 4, "b": 4}, "val": {"a": 2, "b": 2}, "unlabeled": {"": 6}}
    source = load_source("stl10", str(labelled(tmp_path, counts)), 64)
    assert len(source.train) == 14 and source.train.labels is None and source.train.images.shape[2:] == (96, 96)
    assert source.labelled.labels.tolist() == [0] * 4 + [1] * 4 and len(source.val) == 4


def test_imagenet100_is_picked_out_of_imagenet(tmp_path, capsys):
    from repre_lite.data.tree import _imagenet100

    hundred = sorted((resources.files("repre_lite.data") / "imagenet100.txt").read_text().split())
    assert len(hundred) == len(set(hundred)) == 100
    counts = {part: dict.fromkeys([*hundred, "n00000001", "n99999999"], 1) for part in ("train", "val")}
    source = load_source("imagenet100", str(labelled(tmp_path / "whole", counts)), 16)
    assert source.train.classes == tuple(hundred) == source.val.classes and len(source.train) == len(source.val) == 100
    assert len(load_source("imagenet1k", str(tmp_path / "whole"), 16).train.classes) == 102
    own = {part: {"n01": 2, "n02": 2} for part in ("train", "val")}
    assert load_source("imagenet100", str(labelled(tmp_path / "own", own)), 16).val.classes == ("n01", "n02")
    assert "taken as it is, 2 classes" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "whole" / "train" / hundred[5])
    with pytest.raises(UserError, match=f"101 classes, but not {hundred[5]}"):
        _imagenet100(tmp_path / "whole" / "train")


def test_imagenet_is_found_by_its_name(tmp_path, monkeypatch):
    labelled(tmp_path / "imagenet", {"train": {"a": 2}})
    monkeypatch.setenv("REPRE_LITE_DATA", str(tmp_path))
    assert len(load_source("imagenet1k", None, 16).train) == len(load_source("imagenet100", None, 16).train) == 2


def test_larger_pictures_stay_in_their_files(tmp_path):
    source = load_source("folder", str(labelled(tmp_path, {"train": {"a": 3, "b": 3}, "val": {"a": 2}})), 112)
    assert isinstance(source.train.images, FileImages) and source.train.images.shape == (6, 3, 128, 128)
    part = source.train.subset(4)
    assert part.labels.tolist() == [0, 0, 1, 1] and part.images[:].shape == (4, 3, 128, 128)
    assert source.labelled is source.train and torch.equal(source.val.images[1], source.val.images[:][1])


def test_links_are_followed_but_not_round_and_round(tmp_path):
    save(tmp_path / "elsewhere" / "x.png")
    save(tmp_path / "tree" / "a" / "y.png")
    (tmp_path / "tree" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "a" / "up").symlink_to(tmp_path / "tree")
    assert [str(path.relative_to(tmp_path / "tree")) for path in list_images(tmp_path / "tree")] == [
        "a/y.png",
        "b/x.png",
    ]


def test_subsets_are_even_and_seeded():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 5)
    chosen = choose(labels, 20, seed=0)
    assert labels[chosen].bincount().tolist() == [8, 7, 5] and torch.equal(chosen, chosen.sort().values)
    assert torch.equal(chosen, choose(labels, 20, 0)) and not torch.equal(chosen, choose(labels, 20, 1))


def test_real_pictures(cifar10):
    source = load_source("cifar10", str(cifar10), 32, train_images=200)
    assert source.train.images.shape == (200, 3, 32, 32) and source.train.labels.bincount().tolist() == [20] * 10
    assert len(source.val) == 10_000 and 100 < source.train.images.float().mean() < 140
