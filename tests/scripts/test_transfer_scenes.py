"""The table of transfer on the scenes: every cell once, encoders paired, and resumed."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from small import TINY

import repre_lite as rl
from repre_lite.data import masks
from repre_lite.runs import ENCODER, save_networks
from repre_lite.transfer import objects

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(masks, "SCENES_VAL", 4)
    monkeypatch.setattr(masks, "SCENES_TRAIN", 32)
    monkeypatch.setattr(objects, "SCENES_VAL", 2)
    monkeypatch.setattr(objects, "SCENES_TRAIN", 16)
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("transfer_scenes")
    sys.path.remove(str(SCRIPTS))


def test_every_cell_is_learned_once(script, tmp_path, monkeypatch, capsys):
    recipe = rl.recipe("scenes", "simsiam", encoder=TINY, method={"out": 16, "bottleneck": 8}, decoder_width=8)
    save_networks(rl.RePre.from_recipe(recipe, (0.5,) * 3, (0.25,) * 3), recipe, tmp_path)
    command = [
        "x",
        "--sources",
        str(tmp_path / ENCODER),
        "--seeds",
        "1",
        "--steps",
        "1",
        "2",
        "--out",
        str(tmp_path / "t.json"),
    ]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    table = json.loads((tmp_path / "t.json").read_text())
    cells = table["cells"]
    assert table["steps"] == {"segmentation": 1, "detection": 2}
    assert len(cells) == 8 and all("miou" in cells[name] or "box_map" in cells[name] for name in cells)
    one, other = (cells[f"segmentation frozen {encoder} 0"]["miou"] for encoder in ("pre-trained", "untrained"))
    assert table["paired"]["segmentation frozen"]["miou"]["each"] == [round(one - other, 5)]
    capsys.readouterr()
    script.main()
    assert "8 of 8 cells are finished" in capsys.readouterr().out


def test_steps_are_given_for_every_task(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--steps", "1"])
    with pytest.raises(SystemExit):
        script.main()
    assert "give one number for each of segmentation detection" in capsys.readouterr().err
