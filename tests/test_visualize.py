"""Every view on random tiny encoders: the figure draws, every control works, the sentence says what is shown."""

import base64
import html
import math
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite import losses
from repre_lite.evaluation.collapse import embedding_std
from repre_lite.frameworks.base import cosine_to_one
from repre_lite.losses import UncertaintyWeighting
from repre_lite.repre import RePre
from repre_lite.runs import Run
from repre_lite.visualize.kit.panel import panel, png
from repre_lite.visualize.lessons.balance import Balance, curves
from repre_lite.visualize.lessons.memory import Memory
from repre_lite.visualize.lessons.similarity import Similarity
from repre_lite.visualize.levels import Levels
from repre_lite.visualize.reconstruction import Reconstructions

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny networks: on a busy machine threads would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    yield
    from matplotlib import pyplot as plt

    assert plt.get_fignums() == []  # a view that forgets to close fills the memory of a long session


@pytest.fixture(scope="module", params=["vit_micro", "swin_micro"])
def run(request):
    """An untrained run: encoder and decoder as drawn."""
    recipe = rl.recipe("scenes", arch=request.param, decoder_width=8, method={"hidden": 16, "out": 8})
    return Run(Path("nowhere"), recipe, RePre.from_recipe(recipe).eval(), [], {})


@pytest.fixture(scope="module")
def views():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def levels(run, views):
    return Levels.compute(run.encoder, views, run.model.normalise(views))


def is_drawn(figure):
    return png(figure).startswith(PNG)


def positions(control):
    """Every place a control can be moved to, or both ends and the middle of a continuous one."""
    if isinstance(control, ipywidgets.IntSlider):
        return list(range(control.min, control.max + 1, control.step))
    if isinstance(control, ipywidgets.FloatLogSlider):
        return [control.base**e for e in (control.min, (control.min + control.max) / 2, control.max)]
    if isinstance(control, ipywidgets.SelectionSlider):
        return list(control.options)
    assert isinstance(control, ipywidgets.ToggleButton)
    return [True, False]


def shown(box):
    """The PNG inside the picture's data address."""
    return base64.b64decode(box.picture.value.split("base64,")[1].split('"')[0])


def move_all(box, expected):
    """Move every control through its range; `expected(values)` is the sentence that belongs to them."""
    start = {name: control.value for name, control in box.controls.items()}
    first = shown(box)
    for name, control in box.controls.items():
        assert control.description
        seen = set()
        for value in positions(control):
            control.value = value
            picture = shown(box)
            assert picture.startswith(PNG)
            assert html.unescape(box.sentence.value) == expected(start | {name: value})
            assert box.sentence.value == html.escape(html.unescape(box.sentence.value))
            seen.add(picture)
        assert len(seen) == len(positions(control)), f"{name} does not change the picture"
        control.value = start[name]
        assert shown(box) == first  # so bytes differ for what is shown and for nothing else


# -- levels


def test_levels_hold_one_map_a_block_and_a_share_of_the_pixels(run, levels, views):
    depth = len(run.encoder.backbone.feature_info)
    assert len(levels.maps) == len(levels.pixels) == depth
    assert levels.tapped == run.encoder.tap_indices and set(levels.tapped) <= set(range(depth))
    assert np.array_equal(levels.picture, views[0].permute(1, 2, 0).numpy())
    for colours in levels.maps:
        assert colours.ndim == 3 and colours.shape[2] == 3 and colours.min() == 0 and colours.max() == pytest.approx(1)
    assert all(0 <= share <= 1 for share in levels.pixels)


def test_levels_figure_and_sentence(levels):
    figure = levels.figure()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "view" and len(titles) == len(levels.maps) + 1
    assert [i for i, title in enumerate(titles[1:]) if title.endswith("(tap)")] == list(levels.tapped)
    assert is_drawn(figure)
    assert f"{len(levels.maps)} blocks" in levels.describe() and f"{levels.pixels[-1]:.0%}" in levels.describe()
    for block, share in enumerate(levels.pixels):
        sentence = levels.describe(block)
        assert f"Block {block}," in sentence and f"{share:.0%}" in sentence
        assert ("not tapped" in sentence) == (block not in levels.tapped)


def test_levels_widget(levels):
    box = levels.widget()
    assert positions(box.controls["block"]) == list(range(len(levels.maps)))
    move_all(box, lambda values: levels.describe(values["block"]))


def test_one_basis_for_all_blocks_of_a_vit(run, views):
    from repre_lite.visualize.levels import shared_colours

    if run.recipe.arch == "swin_micro":
        with pytest.raises(rl.UserError, match="differ in width"):
            Levels.compute(run.encoder, views, views, shared=True)
        return
    levels = Levels.compute(run.encoder, views, run.model.normalise(views), shared=True)
    together = np.stack(levels.maps)
    assert together.min((0, 1, 2)) == pytest.approx(0) and together.max((0, 1, 2)) == pytest.approx(1)
    assert "in one basis" in levels.describe() and is_drawn(levels.figure())
    tap = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(0))
    same, larger, turned = shared_colours([tap, 3 * tap + 1, -tap])  # size and offset do not count, direction does
    assert np.allclose(same, larger, atol=1e-5) and np.allclose(same - 0.5, 0.5 - turned, atol=1e-5)


def test_a_linear_readout_explains_linear_features_and_not_noise():
    from repre_lite.visualize.levels import _readout

    smooth = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pictures = smooth.repeat_interleave(8, 2).repeat_interleave(8, 3)  # one colour a patch
    mixing = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    assert _readout(torch.einsum("cd,bdhw->bchw", mixing, smooth), pictures) > 0.95
    assert _readout(torch.randn(40, 6, 4, 4, generator=torch.Generator().manual_seed(2)), pictures) < 0.05


# -- balance


@pytest.mark.parametrize(("contrastive", "reconstruction"), [(2.0, 0.1), (5.0, 1.0), (0.3, 1e-4)])
def test_weights_at_rest_are_where_the_objective_is_lowest(contrastive, reconstruction):
    weighting = UncertaintyWeighting()
    one, two, total = Balance.compute(weighting).rest(contrastive, reconstruction)
    assert weighting(torch.tensor(contrastive), torch.tensor(reconstruction)).item() == pytest.approx(total, abs=1e-5)
    assert weighting.weights.tolist() == pytest.approx([one, two], rel=1e-5)
    for s in np.linspace(-5, 3, 50):  # the floor is -5: no other place is lower
        rest = max(math.log(reconstruction), -5)
        assert (math.exp(-s) * reconstruction + s) >= (math.exp(-rest) * reconstruction + rest) - 1e-9


def test_balance_figure_sentence_and_widget():
    balance = Balance()
    assert is_drawn(balance.figure())
    assert "losses 2 and 0.1" in balance.describe() and "0.25 and 5.00, a ratio of 20.0" in balance.describe()
    assert is_drawn(balance.figure(0.01, 10)) and "0.01 and 10" in balance.describe(0.01, 10)
    move_all(balance.widget(), lambda values: balance.describe(*(round(value, 4) for value in values.values())))


def test_balance_marks_the_weights_at_rest():
    balance = Balance()
    marks = balance.figure(2.0, 1e-4).axes[1].lines[1:]
    assert [float(mark.get_ydata()[0]) for mark in marks] == pytest.approx(balance.rest(2.0, 1e-4)[:2])


@pytest.mark.parametrize("missing", ["online_knn_top1", "contrastive", "weight_contrastive"])
def test_curves_draw_what_was_logged(missing):
    line = {"contrastive": 2.0, "reconstruction": 0.3, "weight_contrastive": 0.2, "weight_reconstruction": 1.0}
    rows = [{"step": step, **line, "online_knn_top1": 0.5} for step in (1, 2, 3)]
    labels = [[drawn.get_label() for drawn in axis.lines] for axis in curves(rows).axes]
    assert labels[0] == labels[1] == ["contrastive", "reconstruction"]
    figure = curves([row | {missing: None} for row in rows], "a title")
    assert len(figure.axes) == (2 if missing == "online_knn_top1" else 3)
    assert sum(len(axis.lines) * (axis.lines[0].get_xdata().size > 0) for axis in figure.axes) == 4
    assert is_drawn(figure)


# -- reconstructions


def test_reconstructions(run):
    images = rl.scenes(range(4)).images
    shown = Reconstructions.compute(run, images)
    assert shown.views.shape == shown.pictures.shape == (4, 32, 32, 3)
    assert shown.pictures.min() >= 0 and shown.pictures.max() <= 1
    picture = run.reconstruct(torch.from_numpy(shown.views).permute(0, 3, 1, 2))
    assert np.allclose(
        shown.l1,
        [np.abs(a - b).mean() for a, b in zip(picture.permute(0, 2, 3, 1).numpy(), shown.views, strict=True)],
        atol=1e-6,
    )
    figure = shown.figure()
    assert [axis.get_ylabel() for axis in figure.axes[:12:4]] == ["view", "redrawn", "error (L1)"]
    first = png(figure)
    assert first.startswith(PNG)
    assert first == png(Reconstructions.compute(run, images).figure())
    assert first != png(Reconstructions.compute(run, images, seed=1).figure())
    sentence = shown.describe()
    assert sentence.startswith("4 augmented views") and f"{shown.l1.min():.3f} to {shown.l1.max():.3f}" in sentence
    assert is_drawn(Reconstructions.compute(run, images[:1]).figure())


# -- the panel itself


def test_panel_hands_values_over_by_name_and_escapes_the_sentence():
    from matplotlib import pyplot as plt

    asked = []

    def draw(**values):
        asked.append(values)
        return plt.figure(figsize=(1, 1)), "a < b"

    box = panel(draw, one=ipywidgets.IntSlider(1, 0, 3), two=ipywidgets.ToggleButton(False))
    box.controls["one"].value = 3
    box.controls["two"].value = True
    assert asked == [{"one": 1, "two": False}, {"one": 3, "two": False}, {"one": 3, "two": True}]
    assert box.sentence.value == "a &lt; b"


def test_the_picture_has_its_alternative_text_in_the_browser():
    from matplotlib import pyplot as plt

    box = panel(lambda: (plt.figure(figsize=(1, 1)), 'what "is" shown'))
    assert '<img alt="what &quot;is&quot; shown"' in box.picture.value


def test_similarity_is_equation_1_and_moves_with_the_temperature():
    q, k = torch.randn(5, 8), torch.randn(5, 8)
    view = Similarity.compute(q, k)
    for temperature in (0.05, 0.2, 2.0):
        assert view.loss(temperature) == pytest.approx(float(losses.info_nce(q.double(), k.double(), temperature)))
        assert np.allclose(view.shares(temperature).sum(1), 1)
        logits = q @ k.T / (q.norm(dim=1)[:, None] * k.norm(dim=1)) / temperature
        each = torch.nn.functional.cross_entropy(logits, torch.arange(5), reduction="none")
        assert np.allclose(view.losses(temperature), each, atol=1e-4)
    assert view.std == pytest.approx(embedding_std(q)) and f"spread {view.std:.2f} of 1" in view.describe()
    figure = view.figure()
    boxes = {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in figure.axes[1].patches}
    assert boxes == {(i - 0.5, i - 0.5, 1, 1) for i in range(5)}  # positives are outlined
    assert np.allclose([bar.get_width() for bar in figure.axes[2].patches], view.losses(0.2))
    assert is_drawn(figure)
    move_all(view.widget(), lambda v: view.describe(v["temperature"]))


def test_similarity_shows_a_collapse():
    q = torch.ones(5, 8) + 1e-4 * torch.randn(5, 8)
    view = Similarity.compute(q, q)
    assert view.std < 0.01 and view.loss(0.2) == pytest.approx(math.log(5), abs=1e-3)


def test_memory_is_what_the_moving_average_does():
    view, online, target = Memory.compute(20), torch.randn(20, dtype=torch.float64), torch.zeros(())
    start = target = torch.tensor(3.0, dtype=torch.float64)
    for step in range(12):
        coefficient = cosine_to_one(0.9, step / 20)
        target = coefficient * target + (1 - coefficient) * online[step]
    shares = torch.from_numpy(view.shares(0.9, 11))
    assert torch.allclose(target, (shares * online[:12]).sum() + (1 - shares.sum()) * start)
    assert is_drawn(view.figure())
    move_all(view.widget(), lambda v: view.describe(v["base"], v["at"]))


def test_reconstructions_enlarge_each_picture(run):
    view = Reconstructions.compute(run, rl.scenes(range(3), size=32).images)
    move_all(view.widget(), lambda v: view.describe(v["picture"]))
