"""The explorer: tabs for what a run has, each made when opened."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data import sources
from repre_lite.repre import RePre
from repre_lite.runs import Run
from repre_lite.visualize.embedding import Embedding
from repre_lite.visualize.explorer import Explorer
from repre_lite.visualize.tug import TugOfWar


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 40)
        patch.setattr(Embedding, "compute", functools.partial(Embedding.compute, perplexities=()))
        yield


def test_a_tab_is_made_when_it_is_opened_and_once(tiny_runs, monkeypatch):
    explorer = Explorer(str(tiny_runs["multi-0"]))
    made = []
    for name, make in list(explorer.makers.items()):
        monkeypatch.setitem(explorer.makers, name, lambda name=name, make=make: made.append(name) or make())
    tabs = explorer.widget()
    names = ["attention", "patches", "tap mixer", "ladder", "levels", "view pair", "embedding", "tug of war", "time"]
    assert list(tabs.titles) == names and made == ["attention"]
    for index in (2, 0, 2, *range(len(names))):
        tabs.selected_index = index
        assert len(tabs.children[index].children) == 1
    assert sorted(made) == sorted(names)
    assert explorer.tab("ladder") is explorer.tab("ladder") and len(made) == len(names)
    assert "multi-0, moco_v3 with vit_micro" in explorer.describe() and "tug of war" in explorer.describe()
    with pytest.raises(rl.UserError, match="'nothing'.*attention"):
        explorer.tab("nothing")


def test_only_what_the_run_has(tiny_runs):
    assert list(Explorer(tiny_runs["none-0"]).makers) == ["attention", "patches", "levels", "view pair", "embedding"]
    recipe = rl.recipe("scenes", "none", arch="swin_micro", decoder_width=8)
    run = Run(tiny_runs["none-0"] / "nowhere", recipe, RePre.from_recipe(recipe).eval(), [], {})
    explorer = Explorer(run)
    assert "tug of war" not in explorer.makers and "time" not in explorer.makers and "ladder" in explorer.makers
    assert "stage 2" in explorer.tab("ladder").names[0]


def test_the_tug_of_war_of_hidden_patches_is_that_of_training(tiny_runs, monkeypatch):
    seen = []
    monkeypatch.setattr(TugOfWar, "compute", lambda model, views, metrics, hidden: seen.append(hidden))
    run = rl.load_run(tiny_runs["multi-0"])
    for share in (0.0, 0.5):
        Explorer(dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, hide=share)))._tug_of_war()
    assert seen[0] is None and seen[1].shape[0] > 1 and 0.3 < seen[1].float().mean() < 0.7


def test_another_image_is_looked_at(tiny_runs):
    image = rl.scenes([3], size=48).images[0]
    explorer = Explorer(tiny_runs["multi-0"], image)
    shown = explorer.tab("attention").image
    assert shown.shape == (32, 32, 3)
    reference = torch.nn.functional.interpolate(image[None].float() / 255, (32, 32), mode="bilinear", antialias=True)
    assert np.abs(shown - reference[0].permute(1, 2, 0).numpy()).max() < 0.01
    own = Explorer(tiny_runs["multi-0"])
    assert not np.allclose(own.tab("attention").image, shown)
    assert torch.equal(own.images[1:], explorer.images[1:])


def test_a_packed_run_says_why_it_has_no_tug_of_war():
    explorer = Explorer(rl.artefact("multi"))
    with pytest.raises(rl.UserError, match=r"multi: no checkpoint.pt, so the heads are untrained"):
        explorer.tab("tug of war")
    tabs = explorer.widget()
    tabs.selected_index = list(explorer.makers).index("tug of war")
    assert "heads are untrained" in tabs.children[tabs.selected_index].children[0].value
