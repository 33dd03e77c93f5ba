"""Tug of war: gradients against autograd by hand, sums against sums of gradients."""

import copy

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.repre import RePre
from repre_lite.runtime.errors import UserError
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.tug import TugOfWar

HISTORY = [{"step": s, "weight_contrastive": 0.2 * s, "weight_reconstruction": 1.0 + s} for s in (1, 2, 3)]


def model_of(arch="vit_micro", **changes):
    return RePre.from_recipe(
        rl.recipe("scenes", arch=arch, decoder_width=8, method={"hidden": 16, "out": 8}, **changes)
    )


def views_of(count=4):
    draw = torch.Generator().manual_seed(0)
    return [torch.rand(count, 3, 32, 32, generator=draw) for _ in range(2)]


@pytest.fixture(scope="module", params=["vit_micro", "swin_micro"])
def case(request):
    model = model_of(request.param)
    return model, TugOfWar.compute(model, views_of(), HISTORY)


def test_norms_and_cosines_are_those_of_the_gradients(case):
    model, tug = case
    gradients = []
    for loss in ("contrastive", "reconstruction"):
        one = copy.deepcopy(model).train()
        getattr(one(views_of()), loss).backward()
        modules = dict(one.framework.online.backbone.named_modules())
        names = [n for n in modules if n.split(".")[-2:-1] == ["blocks"]]
        gradients.append([torch.cat([p.grad.flatten() for p in modules[n].parameters()]).double() for n in names])
    assert len(tug.blocks) == len(names) == 8
    for place, (one, two) in enumerate(zip(*gradients, strict=True)):
        assert tug.norms[:, place] == pytest.approx([float(one.norm()), float(two.norm())], rel=1e-4)
        assert tug.cosine[place] == pytest.approx(float(one @ two / one.norm() / two.norm()), abs=1e-4)
    for ratio in (0.1, tug.ratio, 1000.0):
        share, along = tug.together(ratio)
        for place, (one, two) in enumerate(zip(*gradients, strict=True)):
            total = one + ratio * two
            assert share[place] == pytest.approx(
                float(ratio * two.norm() / (one.norm() + ratio * two.norm())), rel=1e-4
            )
            expected = [float(total @ g / total.norm() / g.norm()) for g in (one, two)]
            assert along[:, place] == pytest.approx(expected, abs=1e-4)


def test_the_model_stays_as_it_was():
    model = model_of().eval()
    before, start = copy.deepcopy(model.state_dict()), [p.clone() for p in model.parameters()]
    TugOfWar.compute(model, views_of())
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert str(model.state_dict()) == str(before)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start, strict=True))


def test_weights_are_the_learned_ones(case):
    model, tug = case
    after = copy.deepcopy(model).train()
    after(views_of())  # the log-variances start from the first batch
    assert tug.weights == pytest.approx([float(w) for w in after.weights])
    assert tug.ratio == pytest.approx(tug.weights[1] / tug.weights[0])


def test_fixed_weights_and_opposite_pulls():
    tug = TugOfWar(("block 0", "block 1"), np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([-1.0, 0.5]), (1.0, 0.5))
    share, along = tug.together(0.5)
    assert share == pytest.approx([1 / 3, 1 / 3])
    assert along[:, 0] == pytest.approx([1, -1])  # half as strong and opposite: the stronger one wins
    assert (along[:, 1] > 0).all()
    assert "raises the reconstruction loss in 1 of 2 blocks" in tug.describe()
    assert "raises the contrastive loss in 1 of 2 blocks" in tug.describe(3.0)
    assert "-1.00 (block 0)" in tug.describe() and "0.50 (block 1)" in tug.describe()
    assert np.isfinite(tug.together(1.0)[1]).all()  # the pulls cancel exactly in block 0


def test_figure_and_widget(case):
    _, tug = case
    figure = tug.figure()
    assert [axis.get_title() for axis in figure.axes][1:] == ["agreement", "weights over time"]
    assert len(figure.axes[2].lines) == 2 and list(figure.axes[2].lines[1].get_ydata()) == [2, 3, 4]
    assert png(figure)[:4] == b"\x89PNG"
    assert len(TugOfWar(tug.blocks, tug.norms, tug.cosine, tug.weights).figure().axes) == 2
    box = tug.widget()
    slider, seen = box.controls["ratio"], set()
    for exponent in (slider.min, 0.5 * (slider.min + slider.max), slider.max):
        slider.value = 10**exponent
        assert box.sentence.value == tug.describe(slider.value)
        seen.add(box.image.value)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"reconstruction": "none"},
        {"reconstruction": "detached"},
        {"framework": "none", "method": {}},
        {"weighting": "fixed:0,1"},
        {"weighting": "fixed:1,0"},
    ],
)
def test_one_loss_alone_does_not_pull_against_anything(changes):
    changes = {"method": {"hidden": 16, "out": 8}} | changes
    model = RePre.from_recipe(rl.recipe("scenes", arch="vit_micro", decoder_width=8, **changes))
    with pytest.raises(UserError, match="two losses"):
        TugOfWar.compute(model, views_of())
