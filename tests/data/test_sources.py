"""Sources: scenes, torchvision's files, labelled trees and plain folders, or one clear line."""

import pickle
import shutil
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image

from repre_lite.data import sources
from repre_lite.data.files import FileImages
from repre_lite.data.image_set import measure
from repre_lite.data.naming import named
from repre_lite.data.sources import load_source
from repre_lite.evaluation.results import evaluated_on
from repre_lite.runtime.errors import UserError

RED = (200, 30, 40)


def save(path, size=(9, 7), colour=RED):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


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


def test_a_source_says_where_its_images_come_from(tmp_path):
    save(tmp_path / "one.JPG")
    save(tmp_path / "below" / "two.jpg")
    save(tmp_path / "three.png")
    assert load_source("folder", str(tmp_path), 16).origin == "files: .jpg 2, .png 1"
    assert load_source("folder", str(tmp_path), 200).origin == "files: .jpg 2, .png 1"
    assert load_source("scenes", None, 16, 20).origin == "drawn"


@pytest.mark.parametrize(("qualities", "name"), [((75, 75), "cifar10-jpeg75"), ((75, 90), "cifar10-jpeg")])
def test_cifar_as_jpeg_files_has_another_name(tmp_path, qualities, name):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for index, quality in enumerate(qualities):
        for part in ("train", "val"):
            path = tmp_path / part / "cat" / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=quality)
    source = load_source("cifar10", tmp_path, 32)
    assert source.origin == f"{name}: .jpg 2" and named("cifar10", source.origin) == name
    assert evaluated_on(source) == f"{name}: 2 validation images by 2 training images"
    assert load_source("folder", tmp_path, 32).origin == "files: .jpg 2"


def test_names_of_other_images_are_those_of_the_scale():
    assert named("cifar10", "files: .jpg 50,000") == "cifar10-jpeg"  # as runs before wrote it
    for scale, origin in (("cifar10", "torchvision"), ("cifar10", None), ("cifar10", "files: .png 4"), ("scenes", "drawn"),
                          ("imagenet1k", "files: .jpeg 4"), ("folder", "files: .jpg 4")):  # fmt: skip
        assert named(scale, origin) == scale


def test_a_flat_folder_needs_no_labels(tmp_path):
    for i in range(3):
        save(tmp_path / "deep" / f"{i}" / "x.png")
    source = load_source("folder", str(tmp_path), 8)
    assert source.train.labels is None and source.val is None and len(source.train) == 3


def test_a_class_called_train_is_not_taken_for_all_images(tmp_path, capsys):
    for name, count in (("bus", 3), ("car", 4), ("train", 2)):
        for i in range(count):
            save(tmp_path / name / f"{i}.png")
    assert len(load_source("folder", str(tmp_path), 8).train) == 9
    tree = labelled(tmp_path / "tree", {"train": {"a": 2, "b": 2}, "val": {"a": 1}, "old": {"c": 5}})
    assert len(load_source("folder", str(tree), 8).train) == 4
    assert "outside of train/ and val/ are left out: old/ 5" in capsys.readouterr().out
    flat = tmp_path / "flat"  # parts that public data sets have are no images beside train/
    for part in ("train", "test"):
        for i in range(2):
            save(flat / part / f"{i}.png")
    assert len(load_source("folder", str(flat), 8).train) == 2
    for place in (flat, tree):
        save(place / "loose.png")
        load_source("folder", str(place), 8)
    said = capsys.readouterr().out
    assert "left out: in no folder 1\n" in said and "left out: old/ 5, in no folder 1\n" in said


def test_a_half_unpacked_download_is_named(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(UserError, match="cifar-10-batches-py is incomplete or damaged .* delete it"):
        load_source("cifar10", str(tmp_path), 32)


def test_a_tree_that_does_not_fit_is_an_error(tmp_path):
    good = labelled(tmp_path / "good", {"train": {"a": 2}, "val": {"other": 1}})
    empty = labelled(tmp_path / "empty", {"train": {"a": 2}})
    (empty / "val").mkdir()
    flat = labelled(tmp_path / "flat", {"train": {"a": 2}, "val": {"": 2}})
    save(tmp_path / "loose" / "train" / "x.png")
    save(tmp_path / "loose" / "train" / "y.png")
    (tmp_path / "bare" / "train").mkdir(parents=True)
    for scale, folder, words in (
        ("folder", good, "class 'other'"),
        ("folder", empty, "0 images found"),
        ("folder", flat, "some images lie outside the class folders"),
        ("cifar10", tmp_path / "loose", "class folders"),
        ("cifar10", tmp_path / "bare", "0 images found; at least 2 are needed"),
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
    assert source.origin == "torchvision"
    assert source.train.images.shape == (8, 3, 32, 32) and source.train.labels.bincount().tolist() == [2, 2, 2, 2]


def stl(root, unlabelled=20):
    """The files of torchvision's STL10 with 10 labelled, some unlabelled and 10 test images."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("\n".join("abcdefghij") + "\n")
    (folder / "fold_indices.txt").write_text("")
    for name, count, grey in (("train", 10, 50), ("unlabeled", unlabelled, 90), ("test", 10, 200)):
        np.full(count * 3 * 96 * 96, grey, np.uint8).tofile(folder / f"{name}_X.bin")
        if name != "unlabeled":
            np.arange(1, count + 1, dtype=np.uint8).tofile(folder / f"{name}_y.bin")
    return root


def test_stl_trains_on_all_and_evaluates_labelled_images(tmp_path, monkeypatch):
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
    with pytest.raises(UserError, match=f"101 classes, but {hundred[5]} of ImageNet-100 is missing; give"):
        _imagenet100(tmp_path / "whole" / "train")


def test_imagenet_is_found_by_its_name(tmp_path, monkeypatch):
    labelled(tmp_path / "imagenet", {"train": {"a": 2}})
    monkeypatch.setenv("REPRE_LITE_DATA", str(tmp_path))
    assert len(load_source("imagenet1k", None, 16).train) == len(load_source("imagenet100", None, 16).train) == 2


def test_larger_images_stay_in_their_files(tmp_path):
    source = load_source("folder", str(labelled(tmp_path, {"train": {"a": 3, "b": 3}, "val": {"a": 2}})), 112)
    assert isinstance(source.train.images, FileImages) and source.train.images.shape == (6, 3, 128, 128)
    part = source.train.subset(4)
    assert part.labels.tolist() == [0, 0, 1, 1] and part.images[:].shape == (4, 3, 128, 128)
    assert source.labelled is source.train and torch.equal(source.val.images[1], source.val.images[:][1])


def test_real_images(cifar10):
    source = load_source("cifar10", str(cifar10), 32, train_images=200)
    assert source.train.images.shape == (200, 3, 32, 32) and source.train.labels.bincount().tolist() == [20] * 10
    assert len(source.val) == 10_000 and 100 < source.train.images.float().mean() < 140


def test_a_folder_of_one_class(tmp_path):
    source = load_source("folder", labelled(tmp_path, {"train": {"only": 3}, "val": {"only": 1}}), 16)
    assert source.train.classes == ("only",) and source.train.labels.tolist() == [0, 0, 0] and len(source.val) == 1


def test_class_names_are_plain_text_in_the_order_of_folders(tmp_path):
    names = ["_hidden", "a <b> & $c$", "caf\udce9", "new\nline"]
    source = load_source("folder", labelled(tmp_path, {"train": dict.fromkeys(names, 1), "val": {"caf\udce9": 1}}), 16)
    assert source.train.classes == ("_hidden", "a <b> & $c$", "caf\\xe9", "new\\nline")
    assert source.val.labels.tolist() == [2]
    for name in source.train.classes:
        assert name.isprintable() and name.encode("utf-8")


def test_files_that_are_not_images_are_reported_once(tmp_path, capsys):
    labelled(tmp_path, {"train": {"a": 2}, "val": {"a": 1}})
    for i in range(3):
        (tmp_path / "train" / "a" / f"{i}.heic").write_bytes(b"x")
    (tmp_path / "train" / "notes.txt").write_text("x")
    for _ in range(2):
        load_source("folder", tmp_path, 16)
    assert capsys.readouterr().out == f"{tmp_path / 'train'}: not images, left out: 3 .heic, 1 .txt\n"
    shutil.rmtree(tmp_path / "train" / "a")
    with pytest.raises(UserError, match=r"0 images found, and other files: 1 .txt; at least 2 are needed"):
        load_source("folder", tmp_path, 16)


@pytest.mark.parametrize("size", [(32, 48), "32", 0, 32.0])
def test_a_size_that_is_not_one_number_is_an_error(size, tmp_path):
    with pytest.raises(UserError, match="images are square"):
        load_source("folder", tmp_path, size)


def colours(images):
    return images[:][:, 0].amax((1, 2)).tolist()


@pytest.mark.parametrize("size", [16, 112])
def test_an_unreadable_image_is_an_error_or_replaced(size, tmp_path, capsys):
    """The others keep their places, so a run that stopped at the unreadable one can be resumed without it."""
    for i in range(5):
        save(tmp_path / "train" / ("a" if i < 3 else "b") / f"{i}.bmp", colour=(10 * i, 0, 0))
        save(tmp_path / "val" / ("a" if i < 3 else "b") / f"{i}.bmp", colour=(10 * i, 0, 0))
    for name in ("train/a/2.bmp", "train/b/4.bmp", "val/a/1.bmp"):
        (tmp_path / name).write_bytes(b"torn")
    if size <= 96:
        with pytest.raises(UserError, match=r"2.bmp: not a readable image \(.*\); .* skip_unreadable=True"):
            load_source("folder", tmp_path, size)
    source = load_source("folder", tmp_path, size, skip_unreadable=True)
    assert colours(source.train.images) == [0, 10, 30, 30, 0] and source.train.labels.tolist() == [0, 0, 1, 1, 0]
    assert colours(source.val.images) == [0, 20, 30, 40] and source.val.labels.tolist() == [0, 0, 1, 1]
    assert source.skipped == 3
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 of 5 images cannot be read and are replaced by the next ones; the first: ")
    assert said[0].endswith("2.bmp: not a readable image (not in a format that Pillow knows)")
    assert said[1].startswith("1 of 5 images cannot be read and are left out; the first: ") and len(said) == 2
    with pytest.raises(UserError, match="only 1 readable training image; give at least 2"):
        for name in ("train/a/0.bmp", "train/a/1.bmp"):
            (tmp_path / name).write_bytes(b"torn")
        load_source("folder", tmp_path, size, skip_unreadable=True)


def test_leaving_unreadable_files_out_keeps_the_fingerprint(tmp_path, monkeypatch):
    """The same files: what was trained on so far was readable, so resuming without the others is exact."""
    monkeypatch.setattr(sources, "measure", lambda images: measure(images[::2]))  # as of a large folder, a part
    for i in range(8):
        save(tmp_path / f"{i:03d}.bmp", size=(4, 4), colour=(i % 256, 0, 0))
    (tmp_path / "001.bmp").write_bytes(b"torn")
    with_it = load_source("folder", tmp_path, 112)
    without = load_source("folder", tmp_path, 112, skip_unreadable=True)
    assert (with_it.fingerprint, with_it.mean, with_it.std) == (without.fingerprint, without.mean, without.std)
    (tmp_path / "001.bmp").write_bytes(b"torn otherwise")
    assert load_source("folder", tmp_path, 112, skip_unreadable=True).fingerprint != with_it.fingerprint
