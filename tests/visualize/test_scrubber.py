"""Time x depth on runs of four steps: what is shown at a step is what the run kept there."""

import dataclasses

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.repre import RePre
from repre_lite.runtime.errors import UserError
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.scrubber import Scrubber


@pytest.fixture(scope="module")
def run(tiny_runs):
    return rl.load_run(tiny_runs["multi-0"])


@pytest.fixture(scope="module")
def view():
    return rl.scenes([7], size=32).images[0].float() / 255


@pytest.fixture(scope="module")
def scrubber(run, view):
    return Scrubber.compute({"RePre": run, "again": run}, view)


def test_a_run_goes_back_to_its_start_and_to_what_it_kept(run):
    assert run.snapshots == (0, 1, 4)
    fresh = RePre.from_recipe(run.recipe, run.mean, run.std)
    for step, model in ((0, fresh), (4, run.model)):
        for part in ("framework.online.backbone", "decoder"):
            expected = model.get_submodule(part).state_dict()
            got = run.at(step).get_submodule(part).state_dict()
            assert all(torch.equal(got[name], value) for name, value in expected.items())
    one = run.at(1).framework.online.backbone.blocks[0].attn.qkv.weight
    assert not torch.equal(one, fresh.framework.online.backbone.blocks[0].attn.qkv.weight)
    assert not torch.equal(one, run.encoder.backbone.blocks[0].attn.qkv.weight)


def test_the_last_moment_is_the_run_itself(run, view, scrubber):
    assert scrubber.steps == (0, 1, 4) and scrubber.depth == 8 and scrubber.class_token
    last = scrubber.moments["RePre"][-1]
    drawn = run.reconstruct(view[None])[0]
    assert np.allclose(last.reconstruction, drawn.clamp(0, 1).permute(1, 2, 0).numpy(), atol=1e-5)
    assert last.l1 == pytest.approx(float((drawn - view).abs().mean()), abs=1e-5)
    blocks = capture(run.encoder.backbone, run.model.normalise(view))[0]
    for mine, block in zip(last.attention, blocks, strict=True):
        assert mine == pytest.approx(block.dense()[:, 0, 1:].mean(0).reshape(block.grid), abs=1e-6)
        assert mine.max() <= scrubber.brightest
    assert all(f.shape == (8, 8, 3) and f.min() >= 0 and f.max() <= 1 for f in last.features)


def test_colours_do_not_flip_between_moments(scrubber):
    for before, after in zip(scrubber.moments["RePre"], scrubber.moments["RePre"][1:], strict=False):
        for one, two in zip(before.features, after.features, strict=True):
            assert all(np.corrcoef(one[..., c].ravel(), two[..., c].ravel())[0, 1] >= 0 for c in range(3))


def test_figure_and_sentences(scrubber):
    figure = scrubber.figure()
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["step 0", "step 1", "step 4"] and png(figure)[:4] == b"\x89PNG"
    assert "3 moments of RePre, again at 8 depths" in scrubber.describe()
    sentence = scrubber.describe(1, 3)
    assert "After step 1, at depth 3" in sentence and f"{scrubber.moments['RePre'][1].l1:.3f}" in sentence
    attention = scrubber.moments["RePre"][1].attention[3]
    row, column = np.unravel_index(attention.argmax(), attention.shape)
    assert f"row {row}, column {column} ({attention.max():.0%})" in sentence


def test_widget_moves_through_time_and_depth(scrubber):
    box = scrubber.widget()
    time, block = box.controls["time"], box.controls["block"]
    assert [label for label, _ in time.options] == ["step 0", "step 1", "step 4"]
    seen = set()
    for moment in range(3):
        time.value = moment
        for depth in (0, 7):
            block.value = depth
            assert box.sentence.value == scrubber.describe(moment, depth)
            seen.add(box.image.value)
    assert len(seen) == 6


def test_snapshots_of_dino_hold_the_target_which_the_decoder_does_not_read(run, view):
    recipe = rl.recipe("scenes", "dino", decoder_width=8, method={"hidden": 16, "out": 8, "prototypes": 16})
    untrained = RePre.from_recipe(recipe, run.mean, run.std).eval()

    class Twice(type(run)):
        snapshots = (0, 1)

        def at(self, step):
            return untrained

    scrubber = Scrubber.compute({"DINO": Twice(run.folder, recipe, untrained, [], {})}, view)
    assert "snapshots hold the target" in scrubber.describe() and "no decoder" not in scrubber.describe()
    drawn = scrubber.figure(0).axes
    assert any("the decoder reads" in " ".join(text.get_text().split()) for axis in drawn for text in axis.texts)


def test_a_bare_framework_has_no_reconstruction_and_a_swin_no_class_token(tiny_runs, run, view):
    bare = rl.load_run(tiny_runs["none-0"])
    with pytest.raises(UserError, match="none-0: the runs have no snapshots at the same steps.*snapshots=8"):
        Scrubber.compute({"bare": bare}, view)
    recipe = rl.recipe("scenes", arch="swin_micro", reconstruction="none", method={"hidden": 16, "out": 8})
    untrained = RePre.from_recipe(recipe, run.mean, run.std).eval()

    class Twice(type(run)):
        snapshots = (0, 1)

        def at(self, step):
            return untrained

    swin = Twice(run.folder, recipe, untrained, [], {})
    scrubber = Scrubber.compute({"bare Swin": swin}, view)
    moment = scrubber.moments["bare Swin"][0]
    assert moment.reconstruction is None and moment.l1 is None and not scrubber.class_token
    assert [a.shape for a in moment.attention] == [f.shape[:2] for f in moment.features] == [(16, 16), (8, 8), (4, 4)]
    assert all(a.sum() == pytest.approx(1, abs=1e-4) for a in moment.attention)
    assert "none has a decoder" in scrubber.describe() and "most attention goes" in scrubber.describe(0, 1)
    assert png(scrubber.figure())[:4] == b"\x89PNG" and "L1" not in scrubber.widget().sentence.value
    with pytest.raises(UserError, match="the runs have no snapshots at the same steps"):
        Scrubber.compute({"RePre": dataclasses.replace(run), "bare": bare}, view)
    eight = Twice(run.folder, run.recipe, run.model, [], {})
    eight.__class__.at = lambda self, step: self.model
    with pytest.raises(UserError, match="differ in depth"):
        Scrubber.compute({"eight": eight, "three": swin}, view)
