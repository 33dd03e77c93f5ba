"""Trees of images and masks, the scenes' masks, and what is said about broken ones before any work."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import repre_lite as rl
from repre_lite.data.masks import IGNORE, load_masks, read_mask
from repre_lite.runtime.errors import UserError
from repre_lite.transfer.settings import transfer_recipe


def write(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)


@pytest.fixture
def tree(tmp_path):
    """Six images to learn from and two others, 12x8, of classes 0 to 2 and 255; image i of train is i everywhere."""
    root = tmp_path / "tree"
    for part, count in (("train", 6), ("val", 2)):
        for i in range(count):
            mask = np.full((8, 12), i % 3)
            mask[0] = 255
            write(root / "images" / part / f"{i}.png", np.full((8, 12, 3), i))
            write(root / "labels" / part / f"{i}.png", mask)
    return root


def test_images_and_masks_come_in_pairs(tree):
    source = load_masks(tree)
    assert source.name == "tree" and (len(source.train), len(source.val)) == (6, 2)
    assert source.train.classes == source.val.classes == ("0", "1", "2")
    assert source.train.names[4] == "4" and source.train.sizes[4] == (8, 12)
    image, mask = source.train[4]
    assert image.dtype == torch.uint8 and image.shape == (3, 8, 12) and image.unique().tolist() == [4]
    assert mask.dtype == torch.int64 and mask[0].unique().tolist() == [IGNORE] and mask[1:].unique().tolist() == [1]
    assert source.train.pixels.tolist() == [[84, 0, 0], [0, 84, 0], [0, 0, 84]] * 2
    assert source.train.shares().tolist() == pytest.approx([1 / 3] * 3)
    assert source.val.pixels.tolist() == [[84, 0, 0], [0, 84, 0]]


def test_deep_images_are_scaled_by_the_rule_of_those_to_learn_from(tree):
    for part, top in (("train", 4095), ("val", 1000)):
        for i, path in enumerate(sorted((tree / "images" / part).iterdir())):
            Image.fromarray(np.full((8, 12), top // (i + 1), np.uint16)).save(path)
    source = load_masks(tree)
    assert [int(source.train[i][0].max()) for i in range(2)] == [255, 127]
    assert [int(source.val[i][0].max()) for i in range(2)] == [62, 31]


def test_names_other_suffixes_folders_and_palettes(tree):
    (tree / "classes.txt").write_text("sky\nroad\ntree\nnever\n")
    write(tree / "images/train/town/a.jpg", np.zeros((8, 12, 3)))
    write(tree / "labels/train/town/a.bmp", np.ones((8, 12)), "P")
    write(tree / "images/train/deep.webp", np.zeros((8, 12, 3)))
    Image.fromarray(np.full((8, 12), 2, dtype=np.uint16)).save(tree / "labels/train/deep.png")  # 16 bits
    source = load_masks(tree)
    assert source.train.classes == ("sky", "road", "tree", "never")
    assert "town/a" in source.train.names and source.train.pixels.shape == (8, 4)
    masks = dict(zip(source.train.names, (source.train[i][1] for i in range(8)), strict=True))
    assert masks["deep"].unique().tolist() == [2]


def test_subsets_are_nested_and_even_over_rare_classes(tree):
    whole = load_masks(tree).train
    three, four = whole.subset(3, seed=5), whole.subset(4, seed=5)
    assert set(three.names) < set(four.names) and len(four) == 4
    assert sorted(int(name) % 3 for name in three.names) == [0, 1, 2]
    for name, (image, _), size in zip(four.names, (four[i] for i in range(4)), four.sizes, strict=True):
        assert int(name) == int(image.max()) and size == (8, 12)
    assert four.subset(2, seed=1).names[0] in four.names and whole.subset(99) is whole
    again = four.at([3, 0])
    assert again.names == (four.names[3], four.names[0]) and torch.equal(again[0][0], four[3][0])
    assert torch.equal(again.pixels, four.pixels[[3, 0]])
    with pytest.raises(IndexError):
        whole[6]
    assert load_masks(tree, train_images=3, seed=5).train.names == three.names


def test_the_ignored_label_is_a_choice(tree):
    mask = np.ones((8, 12))
    mask[0] = 3
    for part in ("train", "val"):
        for path in (tree / "labels" / part).iterdir():
            write(path, mask)
    (tree / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(UserError, match=r"0\.png: label 3, but classes\.txt names 3 classes, 0 to 2.*ignore_label=3"):
        load_masks(tree)
    assert load_masks(tree, ignore_label=3).train[0][1][0].tolist() == [IGNORE] * 12
    write(tree / "labels/train/0.png", np.full((8, 12), 255))  # not ignored any more
    with pytest.raises(UserError, match="label 255"):
        load_masks(tree, ignore_label=3)


def breaks(tree, case):
    """Break `tree`; what the line must say."""
    if case == "size":
        write(tree / "labels/train/2.png", np.zeros((12, 8)))
        return r"labels.train.2\.png: 8x12 pixels, but its image 2\.png has 12x8"
    if case == "no mask":
        (tree / "labels/train/2.png").unlink()
        return r"images.train.2\.png: no mask labels/train/2\.png"
    if case == "no image":
        (tree / "images/val/1.png").unlink()
        return r"labels.val.1\.png: a mask without an image"
    if case == "colour":
        write(tree / "labels/train/2.png", np.zeros((8, 12, 3)))
        return r"labels.train.2\.png: an image of mode RGB, not a mask"
    if case == "damaged mask":
        path = tree / "labels/train/2.png"
        path.write_bytes(path.read_bytes()[:40])
        return r"labels.train.2\.png: not a readable image.*; repair it, or remove it from images/ and labels/$"
    if case == "damaged image":
        (tree / "images/train/2.png").write_bytes(b"no image")
        return r"images.train.2\.png: not a readable image"
    if case == "lossy":
        write(tree / "images/train/6.png", np.zeros((8, 12, 3)))
        write(tree / "labels/train/6.jpg", np.zeros((8, 12)))
        return r"labels.train.6\.jpg: JPEG compression changes class ids; save masks as \.png"
    if case.startswith("lossy "):  # what a file holds counts, whatever its name
        Image.fromarray(np.zeros((8, 12), dtype=np.uint8)).save(tree / "labels/train/2.png", format=case[6:])
        return rf"labels.train.2\.png: {case[6:]} compression changes class ids"
    if case == "image cut short":
        path = tree / "images/val/1.png"
        path.write_bytes(path.read_bytes()[:-20])  # its header is right
        return r"images.val.1\.png: not a readable image.*; repair it, or remove it from images/ and labels/$"
    if case == "twice":
        write(tree / "images/train/2.jpg", np.zeros((8, 12, 3)))
        return r"images.train.2\.png: 2\.jpg has the same name"
    if case == "no val":
        (tree / "images/val").rename(tree / "images/more")
        return "needs the folders train/ and val/"
    if case == "no labels":
        (tree / "labels").rename(tree / "masks")
        return "no folder labels/"
    if case == "large label":
        Image.fromarray(np.full((8, 12), 2000, dtype=np.uint16)).save(tree / "labels/train/2.png")
        return r"2\.png: label 2000, but ids are 0 to 999"
    if case == "one class":
        for path in (tree / "labels").rglob("*.png"):
            write(path, np.eye(8, 12) * 255)
        return "the masks hold 1 class besides ignore_label=255; at least two are needed"
    if case == "all ignored":
        for path in (tree / "labels/val").iterdir():
            write(path, np.full((8, 12), 255))
        return r"labels.val: every pixel has ignore_label=255; correct the masks"
    if case == "empty line":
        (tree / "classes.txt").write_text("sky\n\ntree\n")
        return r"classes\.txt: line 2 is empty; give every class its own name"
    if case == "name twice":
        (tree / "classes.txt").write_text("ein Baum\nroad\nein Baum\n", encoding="utf-8-sig")
        return r"classes\.txt: 'ein Baum' twice"
    for path in (tree / "images/val").iterdir():
        path.unlink()
    for path in (tree / "labels/val").iterdir():
        path.unlink()
    return "no images in images/val"


@pytest.mark.parametrize(
    "case",
    ["size", "no mask", "no image", "colour", "damaged mask", "damaged image", "lossy", "lossy JPEG",
     "lossy JPEG2000", "image cut short", "twice", "no val", "no labels",
     "large label", "one class", "all ignored", "empty line", "name twice", "empty"],
)  # fmt: skip
def test_a_broken_tree_is_named_in_one_line(tree, case):
    expected = breaks(tree, case)
    with pytest.raises(UserError, match=expected) as error:
        load_masks(tree)
    assert "\n" not in str(error.value)


def test_an_image_that_lies_on_its_side_has_an_upright_mask(tree):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((12, 8, 3), dtype=np.uint8)).save(tree / "images/train/6.jpg", exif=exif)
    write(tree / "labels/train/6.png", np.zeros((8, 12)))
    source = load_masks(tree)
    image, mask = source.train[6]
    assert image.shape[1:] == mask.shape == source.train.sizes[6] == (8, 12)


def test_a_negative_id_can_be_ignored_as_its_error_says(tree):
    for path in (tree / "labels").rglob("*.png"):
        with Image.open(path) as mask:
            ids = np.array(mask).astype(np.int32)
        ids[0, 0] = -1
        Image.fromarray(ids).save(path.with_suffix(".tif"))
        path.unlink()
    with pytest.raises(UserError, match=r"label -1, but ids are 0 to 999; .* give ignore_label=-1"):
        load_masks(tree)
    assert transfer_recipe("random", "segmentation", data="x", ignore_label=-1).ignore_label == -1
    assert load_masks(tree, ignore_label=-1).train[0][1][0, 0] == IGNORE


def test_black_and_white_masks_are_classes_0_and_1(tmp_path):
    write(tmp_path / "mask.png", np.eye(4) * 255, "1")
    assert read_mask(tmp_path / "mask.png").tolist() == torch.eye(4, dtype=torch.int64).tolist()


def test_without_a_tree_the_scenes():
    source = load_masks(image_size=40, train_images=30)
    assert source.name == "scenes" and len(source.train) == 30 and len(source.val) == 500
    assert source.train.classes == ("ground", *rl.data.scenes.CLASS_NAMES)
    drawn = rl.scenes(range(30), size=40)
    for i in (0, 17):
        image, mask = source.train[i]
        assert torch.equal(image, drawn.images[i])
        assert torch.equal(mask > 0, drawn.masks[i]) and set(mask.unique().tolist()) == {0, int(drawn.labels[i]) + 1}
    assert int(source.train.pixels.sum()) == 30 * 40 * 40
    twenty = source.train.subset(20, seed=1)
    assert (twenty.pixels > 0).sum(0).tolist() == [20] + [2] * 10


def test_camvid():
    place = real_images_of_streets()
    with pytest.raises(UserError, match="ignore_label=11"):
        load_masks(place)
    source = load_masks(place, ignore_label=11)
    assert (len(source.train), len(source.val), len(source.train.classes)) == (367, 101, 11)
    assert source.train.classes[0].lower() == "sky" and set(source.train.sizes) == {(360, 480)}
    image, mask = source.val[0]
    assert image.shape == (3, 360, 480) and int(mask[mask != IGNORE].min()) >= 0 and int(mask.max()) <= 10


def real_images_of_streets():
    place = Path(os.environ.get("REPRE_LITE_DATA") or "nowhere") / "camvid"
    if not place.is_dir():
        pytest.skip("REPRE_LITE_DATA is not set or holds no camvid")
    return place
