"""Settings come from a scale, are checked before anything is loaded, and each has an option."""

import pytest

from repre_lite.runtime.errors import UserError
from repre_lite.transfer.loop import rate_at
from repre_lite.transfer.settings import SCALES, identity, transfer_recipe


def test_scales_are_complete():
    for task, scales in SCALES.items():
        for scale in scales:
            recipe = transfer_recipe("x", task, scale, data=None if scale == "scenes" else "somewhere")
            assert recipe.task == task and recipe.steps > 0


def test_published_schedules():
    setr = transfer_recipe("x", "segmentation", "cityscapes", data="c")
    assert (setr.crop, setr.steps, setr.batch_size, setr.optimiser, setr.lr) == (768, 40_000, 8, "sgd", 0.01)
    assert (setr.head_rate, setr.schedule, setr.min_lr, setr.weight_decay) == (10, "poly", 1e-4, 0)
    assert transfer_recipe("x", "segmentation", "cityscapes", data="c", head="mla").lr == 0.002
    coco = transfer_recipe("x", "detection", "coco", data="c")
    assert (coco.short_side, coco.long_side, coco.batch_size, coco.lr) == (800, 1333, 16, 1e-4)
    assert coco.steps == 12 * 7330 and coco.schedule == "step" and not coco.multi_scale


def test_rates_at_the_beginning_in_the_middle_and_at_the_end():
    """Poly as mmcv has it: one final rate for the encoder and for heads that begin ten times as high. Steps: by ten."""
    setr = transfer_recipe("x", "segmentation", "cityscapes", data="c", warmup_steps=0)
    for factor in (1.0, 10.0):
        for step in (0, 20_000, 39_999):
            left = (1 - step / 40_000) ** 0.9
            wanted = (0.01 * factor - 1e-4) * left + 1e-4
            assert rate_at(setr, step, factor) == pytest.approx(wanted, rel=1e-12)
    assert rate_at(setr, 39_999) == pytest.approx(1e-4, rel=0.02)
    warm = transfer_recipe("x", "segmentation", "cityscapes", data="c", warmup_steps=9)
    assert rate_at(warm, 0) == pytest.approx(0.001) and rate_at(warm, 4) == pytest.approx(0.005, rel=1e-3)
    coco = transfer_recipe("x", "detection", "coco", data="c", warmup_steps=0)
    drops = [rate_at(coco, epoch * 7330, 2.0) for epoch in (7, 8, 11)]
    assert drops == pytest.approx([2e-4, 2e-5, 2e-6])


@pytest.mark.parametrize(
    ("task", "scale", "values", "says"),
    [
        ("classification", "folder", {}, "task='classification': choose one of segmentation, detection"),
        ("segmentation", "coco", {}, "scale='coco': choose one of scenes, folder, cityscapes for task=segmentation"),
        ("segmentation", "scenes", {"heads": 1}, "no setting 'heads'"),
        ("segmentation", "scenes", {"head": "fcn"}, "head='fcn': choose one of naive, pup, mla, upernet"),
        ("segmentation", "scenes", {"lr": float("nan")}, "lr=nan: give a number"),
        ("segmentation", "scenes", {"steps": None}, "steps=None: this setting cannot be switched off"),
        ("segmentation", "scenes", {"batch_size": 1}, "batch_size=1: the heads normalise over a batch"),
        ("segmentation", "scenes", {"drop_path": 1.0}, "drop_path=1.0"),
        ("detection", "folder", {"data": ""}, "data= is empty; give"),
        ("segmentation", "scenes", {"data": "x"}, "data=x cannot be used with scale=scenes"),
        ("segmentation", "folder", {}, "scale=folder needs data="),
    ],
)
def test_what_is_out_of_range_is_said_in_one_line(task, scale, values, says):
    with pytest.raises(UserError) as told:
        transfer_recipe("x", task, scale, **values)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_identity_leaves_out_how_it_is_computed():
    one = transfer_recipe("x", "segmentation", "scenes")
    other = transfer_recipe("y", "segmentation", "scenes", device="cpu", workers=1, checkpoint_every=3)
    assert identity(one) == identity(other) != identity(transfer_recipe("x", "segmentation", "scenes", lr=1.0))
