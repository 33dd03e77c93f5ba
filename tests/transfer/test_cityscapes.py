"""Cityscapes' ids become the 19 classes that are scored, in a tree as it is unpacked."""

import numpy as np
import pytest
from PIL import Image

import repre_lite as rl
from repre_lite.data.masks import IGNORE
from repre_lite.transfer.cityscapes import load_cityscapes


@pytest.fixture
def tree(tmp_path):
    for split, count in (("train", 3), ("val", 1)):
        for i in range(count):
            name = f"aachen_00000{i}_000019"
            for kind in ("leftImg8bit", "gtFine"):
                (tmp_path / kind / split / "aachen").mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((8, 16, 3), dtype=np.uint8)
            ids = np.full((8, 16), 7, dtype=np.uint8)  # road
            ids[0], ids[1], ids[2] = 26, 1, 33  # car, ego vehicle (not scored), bicycle
            Image.fromarray(pixels).save(tmp_path / "leftImg8bit" / split / "aachen" / f"{name}_leftImg8bit.png")
            Image.fromarray(ids).save(tmp_path / "gtFine" / split / "aachen" / f"{name}_gtFine_labelIds.png")
    return tmp_path


def test_train_ids(tree):
    source = load_cityscapes(tree)
    assert len(source.train.classes) == 19 and source.train.classes[0] == "road" and source.train.classes[13] == "car"
    assert len(source.train) == 3 and len(source.val) == 1 and len(load_cityscapes(tree, 2).train) == 2
    image, mask = source.val[0]
    assert image.shape == (3, 8, 16) and mask.shape == (8, 16)
    assert mask[:, 0].tolist() == [13, IGNORE, 18, 0, 0, 0, 0, 0]


def test_what_is_missing_is_named(tree):
    gone = tree / "gtFine" / "val" / "aachen" / "aachen_000000_000019_gtFine_labelIds.png"
    gone.unlink()
    with pytest.raises(
        rl.UserError, match=r"aachen_000000_000019_gtFine_labelIds\.png: not found; unpack all of gtFine/"
    ):
        load_cityscapes(tree)
    with pytest.raises(rl.UserError, match="give the folder of leftImg8bit/ and gtFine/"):
        load_cityscapes(tree / "nowhere")
