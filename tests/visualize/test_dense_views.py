"""Dense predictions beside the truth, and probe accuracy by depth."""

import html
import json
import shutil

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data.masks import load_masks
from repre_lite.visualize import DenseProbe


@pytest.fixture(scope="module")
def run(tiny_runs, tmp_path_factory):
    """A run with what `evaluate --protocol dense` writes, numbers made up."""
    folder = shutil.copytree(tiny_runs["multi-0"], tmp_path_factory.mktemp("dense") / "run")
    rows = [
        {"probe": "logistic", "tap": tap, "channels": "standardised", "labels": "1", "miou": 0.1 * i}
        for i, tap in enumerate((1, 3, 5, 7, "all"), 1)
    ]
    results = {
        "images": "scenes: 4 validation images by 20 training images",
        "classes": ["ground", "disc"],
        "ceiling_miou": 0.9,
    }
    results |= {"trained": {"rows": rows}, "untrained": {"rows": [row | {"miou": 0.05} for row in rows]}}
    (folder / "dense.json").write_text(json.dumps(results))
    return rl.load_run(folder)


def test_what_was_measured_by_depth_and_what_is_predicted(run):
    shown = DenseProbe.of_run(run, load_masks(None, 32, 20))
    assert shown.depths == ("block 1", "block 3", "block 5", "block 7", "all") and shown.ceiling == 0.9
    np.testing.assert_allclose(shown.miou["trained"], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert set(shown.predicted) == {"trained", "untrained"} and shown.predicted["trained"].shape == (4, 8, 8)
    assert "trained 10.0 % at block 1, 40.0 % at block 7, 50.0 % of all taps" in shown.describe()
    titles = [axis.get_title() for axis in shown.figure(image=2).axes]
    assert titles[1:] == [
        "image",
        "truth",
        *(f"{name}: {shown.right(name, 2):.0%}" for name in ("trained", "untrained")),
    ]
    assert "mIoU" not in shown.describe(image=2) and "pixels of image 2" in shown.describe(image=2)


def test_pixels_that_are_right_are_counted_by_hand():
    truth = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, -100, -100], [0, 0, 0, 0]]])
    shown = DenseProbe(np.zeros((1, 4, 4, 3)), truth, {"one": np.array([[[0, 1], [1, 1]]])}, ("a", "b"))
    assert shown.right("one", 0) == 10 / 14
    assert shown.describe() == "pixels of 1 image that are classified correctly: one 71 %."


def test_without_masks_there_are_depths_only(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    results = json.loads((folder / "dense.json").read_text())
    (folder / "dense.json").write_text(
        json.dumps(results | {"images": "streets: 4 validation images by 20 training images"})
    )
    shown = DenseProbe.of_run(rl.load_run(folder))
    assert len(shown.images) == 0 and len(shown.figure().axes) == 1 and "mIoU" in shown.describe()
    assert shown.widget().sentence.value == html.escape(shown.describe())


def test_dense_must_have_been_measured(tiny_runs):
    with pytest.raises(rl.UserError, match=r"dense\.json"):
        DenseProbe.of_run(rl.load_run(tiny_runs["none-0"]))


def test_a_probe_learns(run):
    """Features that hold the class give the truth back."""

    class Told(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.image_size, self.tap_indices, self.tap_grids = 32, (0,), (8,)
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return type("F", (), {"taps": [torch.nn.functional.avg_pool2d(x, 4)]})

    masks = load_masks(None, 32, 40)
    flat = {i: (255 * (masks.train[i][1] > 0)).to(torch.uint8).expand(3, 32, 32) for i in range(40)}
    read = masks.train.read
    object.__setattr__(masks.train, "read", lambda i: (flat[i], (read(i)[1] > 0).long()))
    val = masks.val.at([0, 1])
    other = masks.val.read
    object.__setattr__(
        val, "read", lambda i: ((255 * (other(i)[1] > 0)).to(torch.uint8).expand(3, 32, 32), (other(i)[1] > 0).long())
    )
    object.__setattr__(masks, "val", val)
    shown = DenseProbe.compute({"told": Told()}, masks, (0.0,) * 3, (1.0,) * 3, shown=2)
    assert shown.right("told", 0) > 0.9 and shown.right("told", 1) > 0.9 and set(np.unique(shown.truth)) == {0, 1}
