"""Patches alike: cosines by tap and moment against a slow reference."""

import dataclasses

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.repre import RePre
from repre_lite.runs import Run
from repre_lite.visualize import PatchSimilarity


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def shown(tiny_runs, images):
    return PatchSimilarity.compute({name: rl.load_run(tiny_runs[name]) for name in ("multi-0",)}, images)


def test_cosines_are_those_of_the_patches(tiny_runs, shown, images):
    """Untrained, after step 2, at the end; two patches by hand."""
    run = rl.load_run(tiny_runs["multi-0"])
    assert shown.steps == (0, *(step for step in run.snapshots if 0 < step < 4), 4)
    assert shown.cosines["multi-0"].shape == (len(shown.steps), 4)
    for moment, encoder in ((0, run.at(0).framework.evaluated), (-1, run.evaluated)):
        with torch.no_grad():
            tap = encoder(run.model.normalise(images)).taps[1]  # (B, C, h, w)
        by_hand = torch.cosine_similarity(tap[0, :, 2, 3], tap[0, :, 5, 1], dim=0)
        np.testing.assert_allclose(shown.maps["multi-0"][moment][1][2, 3, 5, 1], by_hand, atol=1e-5)
        tokens = torch.nn.functional.normalize(tap.double().flatten(2), dim=1)
        every = tokens.transpose(1, 2) @ tokens  # (B, N, N)
        off = every[:, ~torch.eye(every.shape[1], dtype=torch.bool)]
        np.testing.assert_allclose(shown.cosines["multi-0"][moment, 1], off.mean(), atol=1e-5)


def test_one_patch_and_tap_in_words_and_drawn(shown):
    said, values = shown.describe(tap=0, row=1, column=2), shown.cosines["multi-0"]
    assert f"from {values[0, 0]:.2f} to {values[-1, 0]:.2f}" in said and "row 1, column 2" in said and "block 1" in said
    axes = shown.figure(tap=0, row=1, column=2).axes
    lines, maps = [axis for axis in axes if axis.lines], [axis for axis in axes if axis.images]
    assert len(lines) == 4 and len(maps) >= 1 + len(shown.steps)
    assert [axis.get_title() for axis in maps[1:3]] == ["untrained", f"step {shown.steps[1]}"]


def test_runs_of_different_lengths_end_where_they_end(tiny_runs, images):
    run = rl.load_run(tiny_runs["multi-0"])
    short = dataclasses.replace(
        run, summary={"steps": 1, "finished": False}
    )  # a checkpoint that is older than a snapshot
    both = PatchSimilarity.compute({"long": run, "short": short}, images)
    assert both.steps == (0, 4) and both.ends == {"long": 4, "short": 1}
    titles = [axis.get_title() for axis in both.figure().axes if axis.images]
    assert [title for title in titles if title] == ["untrained", "step 4", "untrained", "step 1"]
    assert "after step 1 (patch" in both.describe()
    assert [line.get_xdata().tolist() for line in both.figure().axes[0].lines] == [[0, 4], [0, 1]]


def test_several_runs_and_a_swin(tiny_runs, images, tmp_path):
    """Only moments that both have; taps of a Swin have grids of their own; runs that differ in taps are refused."""
    runs = {name: rl.load_run(tiny_runs[name]) for name in ("multi-0", "none-0")}
    both = PatchSimilarity.compute(runs, images)
    assert both.steps == (0, 4) and "multi-0 from" in both.describe() and "none-0 from" in both.describe()
    recipe = rl.recipe("scenes", arch="swin_micro", decoder_width=8, method={"hidden": 16, "out": 8})
    swin = Run(tmp_path, recipe, RePre.from_recipe(recipe).eval(), [], {})
    alone = PatchSimilarity.compute({"a $x$": swin}, images)
    assert alone.steps == (0,) and [maps.shape[0] for maps in alone.maps["a $x$"][0]] == list(swin.evaluated.tap_grids)
    assert alone.figure(tap=0, row=3, column=3).axes and alone.describe(tap=0, row=3, column=3)
    with pytest.raises(rl.UserError, match="differ in taps"):
        PatchSimilarity.compute(runs | {"swin": swin}, images)
