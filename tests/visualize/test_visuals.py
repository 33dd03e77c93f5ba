"""Every visual keeps the protocol stated in `repre_lite.visualize`."""

import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet
from repre_lite.data.masks import load_masks
from repre_lite.data.views import View, Views
from repre_lite.visualize import Page, Visual
from repre_lite.visualize.kit.drawing import Figure, png

NAMES = [name for name in dir(rl.visualize) if name not in ("Page", "Visual", "Explorer")]


@pytest.fixture(scope="module")
def visuals(run, views, taps, tiny_runs):
    """Each visual on the same encoder, as small as it gets."""
    v, images, encoder = rl.visualize, (255 * views).to(torch.uint8), run.encoder
    normalised, labels = run.model.normalise(views), torch.arange(12) % 3
    points = ImageSet(torch.cat([images, images]), labels, ("_a", "$b$", "<c>"))
    scenes, two = rl.scenes(range(3), size=32), Views((View(32),) * 2, 0)
    trained = {name: rl.load_run(tiny_runs[name]) for name in ("multi-0", "multi-1")}
    makers = {
        "Alike": lambda: v.Alike.compute({"one": encoder, "two": encoder}, run.model.normalise, views),
        "Attention": lambda: v.Attention.compute(encoder, views[0], normalised[0]),
        "Balance": lambda: v.Balance.compute(rl.losses.UncertaintyWeighting()),
        "Bench": lambda: v.Bench.compute([trained["multi-0"]], images=images[:2]),
        "Cost": lambda: v.Cost.compute("vit_micro", 32, (8, None), (1, 2), ("conv",)),
        "Curves": lambda: v.Curves.compute(trained["multi-0"].metrics),
        "DenseProbe": lambda: v.DenseProbe.compute(
            {"trained": encoder}, load_masks(None, 32, 20), run.mean, run.std, shown=2
        ),
        "Embedding": lambda: v.Embedding.compute(encoder, points, run.mean, run.std, perplexities=(2,)),
        "Figure4": lambda: v.Figure4.compute({"one": run, "two": run}, points, shown=2, perplexities=(2,)),
        "Inspector": lambda: v.Inspector.of_run(run, images[0]),
        "Ladder": lambda: v.Ladder.compute(run.decoder, taps, views, shown=2),
        "Levels": lambda: v.Levels.compute(encoder, views, normalised),
        "Luck": lambda: v.Luck.compute(lambda freedom: 2.0 + 10 / freedom, studies=20, most=4),
        "Memory": lambda: v.Memory.compute(20),
        "PatchSimilarity": lambda: v.PatchSimilarity.compute({"run": trained["multi-0"]}, views),
        "Reconstructions": lambda: v.Reconstructions.compute(run, images[:3]),
        "Scrubber": lambda: v.Scrubber.compute({"run": trained["multi-0"]}, views[0]),
        "Similarity": lambda: v.Similarity.compute(torch.randn(5, 8), torch.randn(5, 8)),
        "TapMixer": lambda: v.TapMixer.compute(run.decoder, taps, views[0]),
        "Truth": lambda: v.Truth.compute(encoder, run.model.normalise, scenes, run.decoder),
        "TugOfWar": lambda: v.TugOfWar.compute(run.model, [views, views.flip(3)]),
        "ViewPair": lambda: v.ViewPair.compute(two, images[0], encoder.tap_grids[0]),
    }
    assert sorted(makers) == NAMES  # a new visual needs its line here
    return {name: make() for name, make in makers.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_visual_computes_draws_describes_and_moves(name, visuals):
    visual = visuals[name]
    kind = type(visual)
    assert isinstance(visual, Visual) and kind is getattr(rl.visualize, name)
    assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen
    assert isinstance(inspect.getattr_static(kind, "compute"), classmethod)
    arguments = [list(inspect.signature(method).parameters.values()) for method in (visual.figure, visual.describe)]
    figure_takes, describe_takes = ([p.name for p in several] for several in arguments)
    assert figure_takes == describe_takes
    assert all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for several in arguments for p in several)
    figure = visual.figure()
    assert isinstance(figure, Figure) and png(figure)[:4] == b"\x89PNG"
    sentence = visual.describe()
    assert sentence.endswith(".") and "\n" not in sentence and re.search(r"\d", sentence)
    widget = visual.widget()
    said = widget.sentence if isinstance(widget.sentence, str) else widget.sentence.value
    assert said.endswith(".")
    for method in ("compute", "figure", "describe", "widget", "to_html"):
        assert not hasattr(kind, method) or getattr(kind, method).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_live_without_network(name, visuals):
    visual = visuals[name]
    if not isinstance(visual, Page):
        assert not hasattr(visual, "to_html")
        return
    whole, part = visual.to_html(), visual.to_html(script=False)
    assert whole.startswith(part) and "mountAll" in whole and "mountAll" not in part
    assert not re.search(r"https?:(?!//www\.w3\.org/)", whole)


def test_no_network_runs_after_compute(visuals, monkeypatch):
    """Whatever figures and widgets show was computed before; only the mixer runs a decoder, and the bench its model."""
    monkeypatch.setattr(rl.TappedEncoder, "__call__", None)
    for name, visual in visuals.items():
        if name not in ("TapMixer", "Bench"):
            monkeypatch.setattr(torch.nn.Module, "__call__", None)
        else:
            monkeypatch.undo()
        assert png(visual.figure()) and visual.describe()


def test_names_are_listed_and_unknown_ones_refused():
    import repre_lite.visualize as package

    assert {"TapMixer", "Attention", "Explorer", "Reconstructions"} < set(dir(package))
    assert all(getattr(package, name).__name__ == name for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018
    assert np.all([isinstance(name, str) for name in package.__all__])
