"""The table of patch cosines: when it is measured, and how it is paired."""

import importlib
import sys
from pathlib import Path

import pytest

import repre_lite as rl
from repre_lite.evaluation.diversity import measure_diversity
from tests.small import TINY

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("patch_cosine")
    sys.path.remove(str(SCRIPTS))


def test_moments(script):
    assert script.moments(128) == [0, 2, 4, 8, 16, 32, 64, 128]
    assert script.moments(3) == [0, 2, 3] and script.moments(1) == [0, 1]


def test_it_begins_with_the_untrained_encoder_and_ends_with_the_trained_one(script, tmp_path):
    which = script.images("scenes", None, 64)
    recipe = rl.recipe("scenes", "moco_v3", steps=3, batch_size=8, train_images=64, device="cpu", encoder=TINY)
    found = script.cosines(recipe, which)
    assert found["steps"] == [0, 2, 3] and [len(taps) for taps in found["patch_cosine"]] == [4, 4, 4]
    source, run = script.load(which), rl.train(recipe, tmp_path / "run", quiet=True)
    last = measure_diversity(run.evaluated, source.val.images, source.mean, source.std)["patch_cosine"]
    assert found["patch_cosine"][2] == pytest.approx(last, abs=1e-4)
    assert found["patch_cosine"][0] != pytest.approx(last, abs=1e-4)


def test_differences_are_of_one_seed(script):
    def cell(one, two):
        return {"steps": [0, 2], "patch_cosine": [[0.5, 0.5], [one, two]]}

    cells = {"multi 0": cell(0.6, 0.9), "detached 0": cell(0.8, 0.9), "multi 1": cell(0.5, 0.8),
             "detached 1": cell(0.7, 0.9), "multi 2": cell(0.7, 0.9), "detached 2": cell(0.91, 0.8)}  # fmt: skip
    rows = script.table(cells)
    assert [(row["step"], row["tap"]) for row in rows] == [(0, 1), (0, 2), (2, 1), (2, 2)]
    assert rows[2]["difference"] == pytest.approx(-0.2033, abs=1e-4) and rows[2]["verdict"] == "lower"
    assert rows[3]["difference"] == pytest.approx(0.0, abs=1e-4) and rows[3]["verdict"] == "no difference shown"
    assert rows[0]["verdict"] == "no difference shown" and rows[0]["half"] == 0
    text = script.markdown(rows, {"what": "w", "hardware": "h", "versions": {"torch": "t"}, "date": "d"})
    assert "| 2 | 1 | 0.600 | 0.803 | -0.203 ±" in text
