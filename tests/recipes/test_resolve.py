"""How a recipe is put together: layers, overrides, views, and what is refused."""

import dataclasses
import json

import pytest

import repre_lite as rl
from repre_lite.cli.options import in_options
from repre_lite.data.view import View
from repre_lite.recipes import FIELDS, HOW, from_dict, identity, override


def test_an_override_wins_and_none_switches_off():
    assert rl.recipe("scenes", "moby").clip_norm == 5.0
    assert rl.recipe("scenes", "moby", clip_norm=None).clip_norm is None
    assert rl.recipe("scenes", "dino").weight_decay_end == 0.4
    assert rl.recipe("scenes", "dino", weight_decay_end=None).weight_decay_end is None
    with pytest.raises(rl.UserError, match="epochs=None: this setting cannot be switched off"):
        rl.recipe("scenes", epochs=None)


def test_base_lr_scales_with_the_batch_and_lr_does_not():
    recipe = rl.recipe("scenes", base_lr=1e-3, batch_size=64)
    assert recipe.peak_lr == pytest.approx(1e-3 * 64 / 256) and recipe.lr is None
    assert dataclasses.replace(recipe, batch_size=128).peak_lr == pytest.approx(1e-3 * 128 / 256)
    fixed = rl.recipe("scenes", lr=5e-4, batch_size=64)
    assert fixed.peak_lr == 5e-4 and fixed.base_lr == pytest.approx(5e-4 * 256 / 64)


def test_method_and_encoder_are_merged():
    recipe = rl.recipe("scenes", "moco_v3", method={"temperature": 0.5}, encoder={"mlp_ratio": 2})
    assert recipe.method["temperature"] == 0.5 and recipe.method["hidden"] == 1024
    assert recipe.encoder == {"mlp_ratio": 2}


VIEWS = (View(32), View(32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": {"temprature": 1}}, "method.temprature: MoCoV3 has no such setting; it has hidden, out"),
        ({"speed": 3}, "a recipe has no setting 'speed'"),
        ({"scale": "mars"}, "scale='mars'"),
        ({"framework": "mars"}, "framework='mars'"),
        ({"size": "huge"}, "size='huge'"),
        ({"image_size": 33}, "33"),
        ({"image_size": 4}, "image_size=4"),
        ({"base_lr": float("inf")}, "base_lr=inf"),
        ({"hide": 1.0}, "hide=1.0"),
        ({"lr": 1e-4, "base_lr": 0.1}, "lr=0.0001 and base_lr=0.1: two learning rates"),
        ({"clip_norm": 0}, "clip_norm=0 .* give none"),
        ({"betas": (0.9, 1.0)}, "betas="),
        ({"taps": 3, "tap_blocks": (1, 2)}, "taps=3: tap_blocks names 2"),
        ({"betas": 0.9}, "betas=0.9: the wrong kind of value; give two numbers"),
        ({"tap_blocks": "1,3"}, "tap_blocks='1,3': the wrong kind of value; give whole numbers"),
        ({"tap_blocks": (1.0, 3)}, "give whole numbers"),
        ({"method": "temperature=0.2"}, "method=.* give a dictionary"),
        ({"encoder": None}, "encoder=None: this setting cannot be switched off"),
        ({"views": [{"size": 32}] * 2}, "views=.* give a tuple of View"),
        ({"compile": "yes"}, "compile='yes': the wrong kind of value; give True or False"),
        ({"decoder_width": 8.0}, "decoder_width=8.0: .* give a whole number or a text"),
        ({"weighting": 1}, "weighting=1: .* give a text"),
        ({"views": ()}, "views: 0 given, but moco_v3 takes 2; change"),
        ({"framework": "simclr", "views": VIEWS[:1] * 3}, "views: 3 given, but simclr takes 2; change"),
        ({"framework": "dino", "views": VIEWS[:1]}, "views: 1 given, but dino takes 2 or more; change"),
        ({"framework": "none", "views": VIEWS}, "views: 2 given, but none takes 1; change"),
        ({"steps": 1e3}, "steps=1000.0: give a whole number, 1 or more"),
        ({"batch_size": 64.0}, "batch_size=64.0: give a whole number, 2"),
        ({"epochs": True}, "epochs=True: give a whole number"),
        ({"base_lr": True}, "base_lr=True: give a number"),
        ({"scale": "folder", "data": ""}, "data= is empty"),
        ({"encoder": {"drop_path_rate": 0.1}}, "encoder.drop_path_rate: .*drop_path="),
        ({"encoder": {"num_classes": 10}}, "encoder.num_classes: "),
        ({"framework": "none", "reconstruction": "detached"}, "framework='none'"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rl.recipe(**arguments)


def test_views_follow_image_and_patch_size():
    for size in (32, 64, 96, 224):
        views = rl.recipe("scenes", "dino", image_size=size).views
        patch = rl.build_encoder("vit_micro", size).patch
        assert views[0].size == size and views[2].size % patch == 0 and views[2].size < size
    assert [view.size for view in rl.recipe("scenes", "moco_v3", image_size=64).views] == [64, 64]


def test_smaller_views_make_the_encoder_take_several_sizes():
    assert rl.recipe("scenes", "dino").encoder == {"dynamic_img_size": True}
    assert rl.recipe("scenes", "dino", arch="swin_micro").encoder == {"strict_img_size": False}
    assert rl.recipe("scenes", "moco_v3").encoder == {}
    changed = override(rl.recipe("scenes", "moco_v3"), ["views.1.size=16"])
    assert changed.encoder == {"dynamic_img_size": True}


def test_assignments_change_views_method_and_encoder():
    held = rl.recipe("scenes", "moco_v3")
    made = override(held, ["views.0.scale=0.25,1", "method.temperature=0.3", "encoder.num_heads=4", "views.1.blur=0.5"])
    assert made.views[0].scale == (0.25, 1) and made.views[1].scale == held.views[1].scale and made.views[1].blur == 0.5
    assert made.method["temperature"] == 0.3 and made.encoder["num_heads"] == 4
    assert override(rl.recipe("scenes", "moco_v2"), ["method.hidden=none"]).method["hidden"] is None


@pytest.mark.parametrize(
    "assignment",
    ["views.2.scale=1,1", "views.0.zoom=2", "views.0.scale=0.5", "method.heat=1", "views.0=1", "lr=3", "method.temperature",
     "views.0.scale=2,3", "views.0.interpolation=nearest", "views.0.jitter=0.4", "views.0.jitter=1,1,1,0.6",
     "views.0.scale=0.1,0.2,0.3", "views.0.blur_sigma=0,1", "views.0.blur_sigma=a,b", "views.1.size=31.5", "views.1.size=18",
     "method.temperature=0", "method.temperature=warm", "method.temperature=none", "method.momentum=1.1", "method.out=0",
     "method.hidden=2.5", "method.hidden=none"],
)  # fmt: skip
def test_assignments_that_are_refused(assignment):
    with pytest.raises(rl.UserError):
        override(rl.recipe("scenes"), [assignment])


def test_an_error_about_a_view_names_the_view():
    for assignment, remedy in (("views.0.scale=1", "give 2 numbers"), ("views.1.size=0", "give a number of pixels")):
        with pytest.raises(rl.UserError, match=f"^set {assignment}: {remedy}"):
            override(rl.recipe("scenes"), [assignment])
    assert in_options("set views.0.scale=1: give 2") == "--set views.0.scale=1: give 2"


def test_values_of_methods_are_checked_by_their_defaults():
    rl.recipe("scenes", "moco_v2", method={"hidden": None, "symmetric": True, "temperature": 1, "momentum": 0})
    rl.recipe("scenes", "dino", method={"frozen_epochs": 0, "temperature_warmup": 0})
    for framework, values in (("moco_v2", {"symmetric": 1}), ("dino", {"prototypes": 0}), ("simclr", {"out": True})):
        with pytest.raises(rl.UserError, match=f"set method.{next(iter(values))}=.*: give "):
            rl.recipe("scenes", framework, method=values)


@pytest.mark.parametrize("framework", ["moco_v3", "dino", "none"])
def test_a_recipe_survives_json(framework):
    recipe = rl.recipe("scenes", framework, tap_blocks=(1, 3, 5, 7), betas=(0.9, 0.95))
    read = from_dict(json.loads(json.dumps(dataclasses.asdict(recipe))) | {"versions": {}})
    assert read == recipe and identity(read) == identity(recipe)


def test_identity_holds_what_and_not_how():
    recipe = rl.recipe("scenes")
    changes = {"workers": 0, "device": "cpu", "compile": True, "snapshots": 3, "skip_unreadable": True}
    assert set(changes) < set(HOW)
    assert identity(dataclasses.replace(recipe, **changes)) == identity(recipe)
    for name, value in {"seed": 1, "hide": 0.5, "precision": "bf16", "clip_norm": 1.0, "images": "cached"}.items():
        assert identity(dataclasses.replace(recipe, **{name: value})) != identity(recipe)


def test_a_recipe_of_another_version_is_refused_in_one_line():
    held = dataclasses.asdict(rl.recipe("scenes"))
    with pytest.raises(rl.UserError, match="no views: .* repre-lite; open it with that version, or train again"):
        from_dict({name: value for name, value in held.items() if name != "views"})
    with pytest.raises(rl.UserError, match="another version of repre-lite: .*; open it with that version, or train"):
        from_dict(held | {"views": [{"size": 32, "zoom": 2}]})


def test_a_first_view_of_another_size_is_refused_with_the_size_it_needs():
    recipe = rl.recipe("scenes")
    small = dataclasses.replace(recipe.views[0], size=16)
    with pytest.raises(rl.UserError, match="its size must be image_size=32; change one of them"):
        dataclasses.replace(recipe, views=(small, *recipe.views[1:]))


def test_every_setting_says_what_it_is():
    for name, field in FIELDS.items():
        assert field.metadata["help"], name
        decided = field.metadata["by"] in ("scale", "framework")
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        assert decided or has_default or name in ("scale", "framework"), name
