"""The explorer: tabs for what a run has, each made when opened; and figure 4 from two runs."""

import functools

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data import sources
from repre_lite.data.scenes import VAL_START
from repre_lite.repre import RePre
from repre_lite.runs import Run
from repre_lite.visualize import figure4 as module
from repre_lite.visualize.embedding import Embedding
from repre_lite.visualize.explorer import Explorer
from repre_lite.visualize.figure4 import Figure4, figure4
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.panel import png


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 40)
        patch.setattr(module, "SCENES", 6)
        patch.setattr(Embedding, "compute", functools.partial(Embedding.compute, perplexities=()))
        yield


# -- explorer


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
    assert explorer.view("ladder") is explorer.view("ladder") and len(made) == len(names)
    assert "multi-0, moco_v3 with vit_micro" in explorer.describe() and "tug of war" in explorer.describe()
    with pytest.raises(rl.UserError, match="'nothing'.*attention"):
        explorer.view("nothing")


def test_only_what_the_run_has(tiny_runs):
    assert list(Explorer(tiny_runs["none-0"]).makers) == ["attention", "patches", "levels", "view pair", "embedding"]
    recipe = rl.recipe("scenes", "none", arch="swin_micro", decoder_width=8)
    run = Run(tiny_runs["none-0"] / "nowhere", recipe, RePre.from_recipe(recipe).eval(), [], {})
    explorer = Explorer(run)
    assert "tug of war" not in explorer.makers and "time" not in explorer.makers and "ladder" in explorer.makers
    assert "stage 2" in explorer.view("ladder").names[0]


def test_another_picture_is_looked_at(tiny_runs):
    picture = rl.scenes([3], size=48).images[0]
    explorer = Explorer(tiny_runs["multi-0"], picture)
    shown = explorer.view("attention").picture
    assert shown.shape == (32, 32, 3)
    reference = torch.nn.functional.interpolate(picture[None].float() / 255, (32, 32), mode="bilinear", antialias=True)
    assert np.abs(shown - reference[0].permute(1, 2, 0).numpy()).max() < 0.01
    own = Explorer(tiny_runs["multi-0"])
    assert not np.allclose(own.view("attention").picture, shown)
    assert torch.equal(own.images[1:], explorer.images[1:])


# -- figure 4


@pytest.fixture(scope="module")
def figure(tiny_runs):
    runs = [rl.load_run(tiny_runs[name]) for name in ("multi-0", "multi-1")]
    return runs, figure4(*runs, shown=3)


def test_attention_is_the_class_tokens_in_the_last_block(figure):
    runs, view = figure
    assert list(view.attention) == ["last layer", "multi-hierarchy"] and view.class_token
    for run, maps in zip(runs, view.attention.values(), strict=True):
        for picture, seen in zip(view.pictures, maps, strict=True):
            image = run.model.normalise(torch.from_numpy(picture).permute(2, 0, 1))
            block = capture(run.encoder.backbone, image)[0][-1]
            assert seen == pytest.approx(block.dense()[:, 0, 1:].mean(0).reshape(4, 4), abs=1e-6)


def test_numbers_stand_beside(figure):
    _, view = figure
    text, titles = view.describe(), [axis.get_title() for axis in view.figure().axes]
    for name in view.attention:
        numbers = f"{name} k-NN {view.embeddings[name].knn:.0%}, IoU {view.truths[name].iou.mean():.2f}"
        assert numbers in text and numbers.replace(" k-NN", ": k-NN") in titles
        drawn = rl.scenes(range(VAL_START, VAL_START + 6), size=32)
        assert np.array_equal(view.truths[name].masks, drawn.masks.numpy())
    assert png(view.figure())[:4] == b"\x89PNG"


def test_widget_shows_every_picture(figure):
    _, view = figure
    box, seen = view.widget(), set()
    for picture in range(3):
        box.controls["picture"].value = picture
        assert box.sentence.value == view.describe(picture)
        at = view.attention["last layer"][picture].argmax()
        assert f"last layer most on row {at // 4}, column {at % 4}" in view.describe(picture)
        seen.add(box.picture.value)
    assert len(seen) == 3


def test_a_swin_says_that_it_has_no_class_token(tiny_runs):
    recipe = rl.recipe(
        "folder", arch="swin_micro", image_size=32, reconstruction="none", method={"hidden": 16, "out": 8}
    )
    run = Run(tiny_runs["none-0"], recipe, RePre.from_recipe(recipe).eval(), [], {})
    pictures = rl.load_run(tiny_runs["none-0"]).images()
    view = Figure4.compute({"Swin": run}, pictures, shown=2)
    assert not view.class_token and view.truths == {} and view.attention["Swin"].shape == (2, 4, 4)
    assert "no class token" in view.describe() and "no class token" in view.describe(0) and "IoU" not in view.describe()
    assert png(view.figure())[:4] == b"\x89PNG"
