"""What the scripts of many runs share: nothing is computed twice, nothing is mixed, and val/ is not looked at."""

import importlib
import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from tests.small import TINY

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def cells():
    """scripts/cells.py, as the scripts beside it import it."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("cells")
    sys.path.remove(str(SCRIPTS))


@pytest.fixture
def search(cells):
    return importlib.import_module("search_recipes")


def count(folder, name):
    """A cell that leaves a trace of each time it is computed, and of where."""
    with open(Path(folder) / name, "a") as stream:
        stream.write(f"{os.getpid()} {torch.get_num_threads()}\n")
    return {"name": name}


def test_a_table_is_resumed_cell_by_cell(cells, tmp_path):
    path, wanted = tmp_path / "new" / "table.json", {"steps": 5, "batch_size": {"vit": 2}}
    made = {name: partial(count, str(tmp_path), name) for name in "abc"}

    def stop():
        raise KeyboardInterrupt

    table = cells.open_table(path, wanted)
    with pytest.raises(KeyboardInterrupt):
        cells.fill(path, table, made | {"b": stop})
    assert list(json.loads(path.read_text())["cells"]) == ["a"]
    table = cells.open_table(path, wanted)
    cells.fill(path, table, made)
    held = json.loads(path.read_text())
    assert held["cells"] == {name: {"name": name} for name in "abc"}
    assert all((tmp_path / name).read_text().count("\n") == 1 for name in "abc")
    assert held["steps"] == 5 and held["versions"]["torch"] == torch.__version__ and held["hardware"] and held["date"]


def test_cells_of_other_settings_are_not_mixed(cells, tmp_path):
    path = tmp_path / "table.json"
    cells.fill(path, cells.open_table(path, {"steps": 5}), {"a": dict})
    with pytest.raises(SystemExit, match="steps 5, not 6"):
        cells.open_table(path, {"steps": 6})
    cells.open_table(path, {"steps": 5})
    path.write_text('{"runs": {}}')
    with pytest.raises(SystemExit, match="not a table"):
        cells.open_table(path, {"steps": 5})


def test_two_jobs_have_a_process_and_one_thread_each(cells, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "traced_cell.py").write_text(
        "import os, torch\n"
        "def cell(name):\n"
        "    return {'pid': os.getpid(), 'threads': torch.get_num_threads(), 'name': name}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cell = importlib.import_module("traced_cell").cell
    path = tmp_path / "table.json"
    cells.fill(path, cells.open_table(path, {}), {name: partial(cell, name) for name in "abcd"}, jobs=2)
    held = json.loads(path.read_text())["cells"]
    assert {name: figures["name"] for name, figures in held.items()} == {name: name for name in "abcd"}
    assert os.getpid() not in {figures["pid"] for figures in held.values()}
    assert {figures["threads"] for figures in held.values()} == {1}


@pytest.fixture
def numbered(cells, monkeypatch):
    """A source whose training images are all different; its validation images must not be touched."""

    def load(scale, data, size, train_images):
        images = torch.arange(train_images, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).contiguous()
        part = ImageSet(images, torch.arange(train_images) % 10, tuple("abcdefghij"))
        return Source(scale, part, "untouched", (0.5,) * 3, (0.5,) * 3, 0, "", part)

    monkeypatch.setattr(cells, "load_source", load)
    cells.load.cache_clear()
    yield
    cells.load.cache_clear()


def test_held_out_images_are_training_images_that_are_not_trained_on(cells, numbered):
    source = cells.load(cells.images("cifar10", None, 100, 40))
    numbers = [set(part.images[:, 0, 0, 0].tolist()) for part in (source.train, source.val)]
    assert len(numbers[0]) == 100 and len(numbers[1]) == 40 and not numbers[0] & numbers[1]
    assert source.labelled is source.train
    for part in (source.train, source.val):
        assert torch.equal(part.labels, part.images[:, 0, 0, 0].long() % 10)
    again = cells.load(cells.Images("cifar10", None, 100, 40))
    assert torch.equal(again.val.images, source.val.images)
    assert cells.load(cells.images("cifar10", None, 100)).val == "untouched"  # without `held` it is the scale's own


def test_a_run_gives_its_figures_and_one_that_breaks_off_its_error(cells):
    which = cells.images("scenes", None, 64, 32)
    common = {"encoder": TINY, "batch_size": 16, "train_images": 64, "device": "cpu"}
    figures = cells.run(rl.recipe("scenes", "simclr", steps=2, **common), which, 40, 20, linear=True)
    for name in ("knn", "untrained", "linear", "reconstruction_error"):
        assert 0 <= figures[name] <= 1
    assert len(figures["contrastive"]) == len(figures["reconstruction"]) == 2
    bare = cells.run(rl.recipe("scenes", "simclr", steps=1, reconstruction="none", **common), which, 40, 20)
    assert bare["reconstruction_error"] is None and "linear" not in bare
    assert bare["untrained"] == figures["untrained"]
    broken = cells.run(rl.recipe("scenes", "simclr", steps=8, base_lr=1e8, **common), which, 40, 20)
    assert "not finite" in broken["error"] and "knn" not in broken


def test_a_collapsed_run_is_called_so(cells, monkeypatch):
    monkeypatch.setattr("repre_lite.training.loop.embedding_std", lambda embedding: 0.0)
    recipe = rl.recipe("scenes", "simclr", encoder=TINY, steps=1, batch_size=16, train_images=64, device="cpu")
    assert cells.run(recipe, cells.images("scenes", None, 64, 32), 40, 20)["collapsed"] is True


def test_pairs_are_of_one_seed(cells):
    held = {"a 0": {"knn": 0.5}, "a 1": {"knn": 0.7}, "b 0": {"knn": 0.4}, "b 1": {"knn": 0.4}, "b 2": {"knn": 0.1},
            "a b 0": {"knn": 0.9}, "a 3": {"error": "x"}, "b 3": {"knn": 1.0}}  # fmt: skip
    found = cells.paired(held, "a", "b", ["knn"])["knn"]
    assert found["each"] == [0.1, 0.3] and found["mean"] == pytest.approx(0.2)
    assert found["half"] == pytest.approx(12.7062 * 0.141421 / 2**0.5, rel=1e-4)  # Student's t of one degree of freedom
    assert cells.by_seed(held, "a b") == {0: {"knn": 0.9}}


def test_the_search_gives_every_framework_the_same_effort(search):
    assert set(search.GRID) == {name for name in rl.frameworks.FRAMEWORKS if name != "none"}
    assert {len(settings) for settings in search.GRID.values()} == {6}
    for framework, settings in search.GRID.items():
        names = [search.named("scenes", framework, values, 0) for values in settings]
        assert len(set(names)) == 6
        for values in settings:
            recipe = search.recipe_of("cifar10", framework, values, 10, 0)
            assert recipe.base_lr == values["base_lr"] and values["method"].items() <= recipe.method.items()
        recipes = [search.recipe_of("cifar10", framework, values, 10, 0) for values in settings]
        assert {recipe.encoder_init for recipe in recipes} == {"moco_v3", "timm"}


def test_the_highest_is_chosen_once_all_are_there(search):
    names = [search.named("scenes", "byol", values, seed) for values in search.GRID["byol"][:3] for seed in (0, 1)]
    found = [{"knn": 0.5}, {"knn": 0.7}, {"error": "diverged"}, {"knn": 0.9}, {"knn": 0.6}, {"knn": 0.6}]
    held = {name: cell | {"untrained": 0.25} for name, cell in zip(names, found, strict=True)}
    assert search.choose(held, "byol", 3, 2) is search.GRID["byol"][0]  # the first of equals
    del held[names[5]]
    assert search.choose(held, "byol", 3, 2) is None and search.choose(held, "byol", 2, 2) is search.GRID["byol"][0]


def test_the_gain_over_its_own_untrained_encoder_decides(search):
    """An initial encoder that is better by itself does not choose a setting."""
    names = [search.named("scenes", "byol", values, 0) for values in search.GRID["byol"][:5]]
    found = [(0.55, 0.5), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5), (0.62, 0.6)]
    held = {name: {"knn": knn, "untrained": low} for name, (knn, low) in zip(names, found, strict=True)}
    assert search.choose(held, "byol", 5, 1) is search.GRID["byol"][0]


def test_a_resumed_table_keeps_what_was_found_before(cells, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"steps": 3, "chosen": {"byol": 1}, "cells": {"a": {"knn": 0.5}}}))
    table = cells.open_table(path, {"steps": 3})
    assert table["chosen"] == {"byol": 1} and table["cells"] == {"a": {"knn": 0.5}} and "date" in table


def test_two_settings_of_each_are_trained_for_longer(search):
    """What leads after few steps and the setting nearest the recipe; one if they are the same, none before all are known."""
    grid = search.GRID
    found = search.finalists({"byol": grid["byol"][4], "simclr": grid["simclr"][0], "dino": None})
    assert found == [("byol", grid["byol"][0]), ("byol", grid["byol"][4]), ("simclr", grid["simclr"][0])]
    both = search.finalists({"byol": grid["byol"][5]}, (1, 6))
    assert both == [("byol", grid["byol"][0]), ("byol", grid["byol"][5])]


def test_the_recipes_themselves_are_trained_as_they_are(search, monkeypatch, tmp_path):
    filled = []
    monkeypatch.setattr(search, "fill", lambda out, table, cells, jobs: filled.append(cells))
    monkeypatch.setattr(
        "sys.argv", ["search", "--recipes", "--frameworks", "byol", "moco_v2", "--out", str(tmp_path / "t")]
    )
    search.main()
    (cells,) = filled
    assert list(cells) == [
        f"{scale} {name} small recipe seed=0" for scale in search.SCALES for name in ("byol", "moco_v2")
    ]
    recipe, which = cells["cifar10 moco_v2 small recipe seed=0"].args
    same = dict(reconstruction="none", device="cpu", precision="fp32")
    assert recipe == rl.recipe("cifar10", "moco_v2", size="small", **same) and which.held == search.HELD
