"""Figure 4 from two runs."""

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
from repre_lite.visualize.figure4 import Figure4
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.drawing import png


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 40)
        patch.setattr(module, "SCENES", 6)
        patch.setattr(Embedding, "compute", functools.partial(Embedding.compute, perplexities=()))
        yield


@pytest.fixture(scope="module")
def figure(tiny_runs):
    runs = [rl.load_run(tiny_runs[name]) for name in ("multi-0", "multi-1")]
    return runs, Figure4.compute({"last layer": runs[0], "multi-hierarchy": runs[1]}, shown=3)


def test_attention_is_the_class_tokens_in_the_last_block(figure):
    runs, view = figure
    assert list(view.attention) == ["last layer", "multi-hierarchy"] and view.class_token
    for run, maps in zip(runs, view.attention.values(), strict=True):
        for image, seen in zip(view.images, maps, strict=True):
            image = run.model.normalise(torch.from_numpy(image).permute(2, 0, 1))
            block = capture(run.encoder.backbone, image)[0][-1]
            assert seen == pytest.approx(block.dense()[:, 0, 1:].mean(0).reshape(block.grid), abs=1e-6)


def test_numbers_stand_beside(figure):
    _, view = figure
    text, titles = view.describe(), [axis.get_title() for axis in view.figure().axes]
    for name in view.attention:
        numbers = f"{name} k-NN {view.embeddings[name].knn:.0%}, IoU {view.truths[name].iou.mean():.2f}"
        assert numbers in text and numbers.replace(" k-NN", ": k-NN") in titles
        drawn = rl.scenes(range(VAL_START, VAL_START + 6), size=32)
        assert np.array_equal(view.truths[name].masks, drawn.masks.numpy())
    assert png(view.figure())[:4] == b"\x89PNG"


def test_widget_shows_every_image(figure):
    _, view = figure
    box, seen = view.widget(), set()
    for image in range(3):
        box.controls["image"].value = image
        assert box.sentence.value == view.describe(image)
        at = view.attention["last layer"][image].argmax()
        assert f"last layer most on row {at // 8}, column {at % 8}" in view.describe(image)
        seen.add(box.image.value)
    assert len(seen) == 3


def test_a_swin_says_that_it_has_no_class_token(tiny_runs):
    recipe = rl.recipe(
        "folder", arch="swin_micro", image_size=32, reconstruction="none", method={"hidden": 16, "out": 8}
    )
    run = Run(tiny_runs["none-0"], recipe, RePre.from_recipe(recipe).eval(), [], {})
    images = rl.load_run(tiny_runs["none-0"]).images()
    view = Figure4.compute({"Swin": run}, images, shown=2)
    assert not view.class_token and view.truths == {} and view.attention["Swin"].shape == (2, 4, 4)
    assert "no class token" in view.describe() and "no class token" in view.describe(0) and "IoU" not in view.describe()
    assert png(view.figure())[:4] == b"\x89PNG"


def test_a_vit_without_class_token_has_none(tiny_runs):
    folder, encoder = tiny_runs["multi-0"], {"class_token": False, "global_pool": "avg"}
    recipe = rl.recipe("scenes", encoder=encoder, decoder_width=8, method={"hidden": 16, "out": 8})
    run = Run(folder, recipe, RePre.from_recipe(recipe).eval(), [], {})
    view = Figure4.compute({"one": run, "two": run}, shown=1)
    assert not view.class_token and "no class token here" in view.describe(0)
