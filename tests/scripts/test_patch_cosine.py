"""The tables of patch cosines: which steps, and what is paired with what."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from repre_lite.reproduce.folders import folder_of
from repre_lite.reproduce.grid import table
from repre_lite.runtime.errors import UserError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("patch_cosine")
    sys.path.remove(str(SCRIPTS))


def write(cell, out, early, taps):
    """A finished run that logged `early` at steps 1, 3, 6, ... and has the cosines `taps` at its end."""
    folder = folder_of(cell, out)
    folder.mkdir(parents=True)
    lines = [{"step": step, "patch_cosine": early + step / 1000} for step in (1, *range(3, 301, 3))] + [{"step": 300}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "summary.json").write_text(json.dumps({"finished": True, "diversity": {"patch_cosine": taps}}))
    (folder / "recipe.json").write_text(json.dumps({"hardware": "a core", "versions": {"torch": "2"}}))


def test_differences_are_of_one_seed(script, tmp_path):
    made = table("local", "scenes")
    multi, base = (next(line for line in made.lines if line.labels == (arm,)) for arm in ("multi", "detached"))
    for seed, (ours, theirs) in enumerate([(0.6, 0.8), (0.5, 0.7), (0.7, 0.91)]):
        write(made.of(multi.name)[seed], tmp_path, 0.1 * seed, [ours, 0.9])
        write(made.of(base.name)[seed], tmp_path, 0.1 * seed, [theirs, 0.9])
    write(made.of(base.name)[3], tmp_path, 0.0, [0.1, 0.1])  # has no partner yet
    text = script.markdown(made, tmp_path)
    assert "| 1 | multi | 0.6000 | 0.8033 | -0.2033 ± 0.0143 | lower | 3 |" in text
    assert "| 2 | multi | 0.9000 | 0.9000 | +0.0000 ± 0.0000 | no difference shown | 3 |" in text
    steps = [
        line.split(" | ")[0].strip("| ") for line in text.split("while training")[1].splitlines() if "multi" in line
    ]
    assert steps == ["1", "3", "9", "30", "60", "90", "150", "300"]
    assert "| 9 | multi | 0.1090 | 0.1090 |" in text and "| single |" not in text


def test_without_a_pair_it_says_what_to_run(script, tmp_path):
    with pytest.raises(UserError, match="run `repre-lite reproduce local` first"):
        script.markdown(table("local", "scenes"), tmp_path)
