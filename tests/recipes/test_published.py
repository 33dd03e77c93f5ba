"""The resolved imagenet1k recipes against the numbers of the published files, written down here a second time."""

import dataclasses
import math

import pytest
import torch

import repre_lite as rl
from repre_lite.frameworks import FRAMEWORKS, framework_class
from repre_lite.recipes import FIELDS
from repre_lite.training.optim import decay_at, rate_at

# framework, arch: batch, epochs, warm-up epochs, peak rate at that batch, end rate, decay, its end, clip, drop-path
EXPECTED = {
    ("moco_v3", "vit_small"): (4096, 300, 40, 2.4e-3, 0, 0.1, None, None, 0),
    ("moco_v3", "vit_base"): (4096, 300, 40, 2.4e-3, 0, 0.1, None, None, 0),
    ("moco_v3", "swin_tiny"): (512, 300, 5, 1e-3, 5e-6, 0.05, None, 5.0, 0),
    ("dino", "vit_small"): (1024, 300, 10, 2e-3, 1e-6, 0.04, 0.4, 3.0, 0.1),
    ("dino", "vit_base"): (1024, 400, 10, 3e-3, 2e-6, 0.04, 0.4, 0.3, 0.1),
    ("dino", "swin_tiny"): (1024, 300, 10, 2e-3, 1e-5, 0.04, 0.4, 3.0, 0.1),
    ("moby", "vit_small"): (512, 300, 5, 1e-3, 5e-6, 0.05, None, 5.0, 0.2),
    ("moby", "vit_base"): (512, 300, 5, 1e-3, 5e-6, 0.05, None, 5.0, 0.2),
    ("moby", "swin_tiny"): (512, 300, 5, 1e-3, 5e-6, 0.05, None, 5.0, 0.2),
    ("moco_v2", "vit_small"): (1024, 300, 10, 2e-3, 1e-6, 0.05, None, None, 0),
    ("moco_v2", "vit_base"): (4096, 300, 30, 5e-4, 0, 0.05, None, 1.0, 0),
    ("moco_v2", "swin_tiny"): (1024, 300, 10, 2e-3, 1e-6, 0.05, None, None, 0),
    ("byol", "vit_small"): (1024, 300, 10, 2e-3, 1e-6, 0.05, None, None, 0),
    ("byol", "swin_tiny"): (1024, 300, 10, 2e-3, 1e-6, 0.05, None, None, 0),
    ("byol", "vit_base"): (4096, 300, 40, 1.6e-3, 0, 0.03, None, None, 0),
    ("simclr", "vit_small"): (4096, 300, 40, 3.2e-3, 0, 0.1, None, None, 0),
    ("simclr", "vit_base"): (4096, 300, 40, 3.2e-3, 0, 0.1, None, None, 0),
    ("simclr", "swin_tiny"): (4096, 300, 40, 3.2e-3, 0, 0.1, None, None, 0),
    ("simsiam", "vit_small"): (1024, 300, 10, 6e-4, 0, 0.1, None, None, 0),
    ("simsiam", "vit_base"): (1024, 300, 10, 6e-4, 0, 0.1, None, None, 0),
    ("simsiam", "swin_tiny"): (1024, 300, 10, 6e-4, 0, 0.1, None, None, 0),
    ("none", "vit_small"): (4096, 300, 40, 2.4e-3, 0, 0.05, None, None, 0),
    ("none", "vit_base"): (4096, 300, 40, 2.4e-3, 0, 0.05, None, None, 0),
    ("none", "swin_tiny"): (4096, 300, 40, 2.4e-3, 0, 0.05, None, None, 0),
}
METHOD = {  # of a framework, or of a framework on one architecture
    "moco_v3": {"hidden": 4096, "out": 256, "temperature": 0.2, "momentum": 0.99},
    "dino": {
        "hidden": 2048, "out": 256, "prototypes": 65536, "student_temperature": 0.1, "teacher_start": 0.04,
        "teacher_temperature": 0.07, "temperature_warmup": 30, "frozen_epochs": 1, "centre_momentum": 0.9,
        "momentum": 0.996,
    },
    "moby": {"hidden": 4096, "out": 256, "queue": 4096, "temperature": 0.2, "momentum": 0.99},
    "moco_v2": {
        "layers": 3, "out": 128, "queue": 65536, "temperature": 0.1, "momentum": 0.996, "momentum_rises": True,
    },
    ("moco_v2", "vit_base"): {
        "layers": 2, "hidden": 2048, "out": 128, "queue": 65536, "temperature": 0.2, "momentum": 0.999,
    },
    "byol": {"hidden": 4096, "out": 256, "momentum": 0.996},
    "simclr": {"layers": 2, "out": 128, "temperature": 0.1},
    "simsiam": {"out": 2048, "bottleneck": 512},
    "none": {},
}  # fmt: skip


@pytest.mark.parametrize(("framework", "arch"), EXPECTED)
def test_imagenet_recipe_field_by_field(framework, arch):
    recipe = rl.recipe("imagenet1k", framework, arch=arch)
    batch, epochs, warmup, peak, end, decay, decay_end, clip, drop_path = EXPECTED[framework, arch]
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs) == (batch, epochs, warmup)
    assert recipe.peak_lr == pytest.approx(peak)
    assert recipe.min_lr == pytest.approx(end)
    assert (recipe.weight_decay, recipe.weight_decay_end) == (decay, decay_end)
    assert (recipe.clip_norm, recipe.clip_each) == (clip, framework == "dino")
    assert recipe.drop_path == drop_path and recipe.image_size == 224
    unit = {"unit_prototypes": arch != "vit_small"} if framework == "dino" else {}
    expected = METHOD.get((framework, arch), METHOD[framework])
    if (framework, arch) == ("dino", "vit_base"):
        expected = expected | {"frozen_epochs": 3, "temperature_warmup": 50}
    assert recipe.method == expected | unit


def test_what_differs_between_the_architectures():
    assert rl.recipe("imagenet1k", "moco_v3").encoder == {"num_heads": 12}  # MoCo v3's ViT-S, not DeiT's
    assert "num_heads" not in rl.recipe("imagenet1k", "dino").encoder
    assert rl.recipe("imagenet1k", "dino").method["unit_prototypes"] is False
    assert rl.recipe("imagenet1k", "dino", arch="vit_base").method["unit_prototypes"] is True
    assert rl.recipe("imagenet1k", "moco_v2").method["momentum_rises"] is True
    assert not rl.recipe("imagenet1k", "moco_v2", arch="vit_base").method.get("momentum_rises", False)
    hundred = rl.recipe("imagenet100", "dino")
    assert (hundred.batch_size, hundred.epochs, hundred.base_lr) == (1024, 200, 5e-4)


@pytest.mark.parametrize("arch", ["vit_micro", "vit_tiny", "vit_large_patch16_224", "swin_micro"])
def test_other_architectures_take_the_numbers_and_keep_their_own_heads(arch):
    near = "swin_tiny" if arch.startswith("swin") else "vit_small"
    for framework in ("moco_v3", "simclr", "dino"):
        other, same = (rl.recipe("imagenet1k", framework, arch=name) for name in (arch, near))
        assert (other.base_lr, other.method) == (same.base_lr, same.method)
        with torch.device("meta"):  # 12 heads of ViT-S do not divide the width of vit_micro or of ViT-L
            own = rl.build_encoder(arch).backbone
            made = rl.build_encoder(arch, other.image_size, **other.encoder).backbone
        assert [m.num_heads for m in made.modules() if hasattr(m, "num_heads")] == [
            m.num_heads for m in own.modules() if hasattr(m, "num_heads")
        ]
    dynamic = {"strict_img_size": False} if near == "swin_tiny" else {"dynamic_img_size": True}
    assert rl.recipe("imagenet1k", "dino", arch=arch).encoder == dynamic


def test_a_changed_recipe_is_checked_too():
    for name, value in (("batch_size", 0), ("base_lr", math.nan), ("reconstruction", "both"), ("epochs", None)):
        with pytest.raises(rl.UserError, match=f"{name}="):
            dataclasses.replace(rl.recipe("scenes"), **{name: value})


def test_every_row_has_a_source_and_says_what_is_ours():
    for name in FRAMEWORKS:
        rows = framework_class(name).published
        assert {"vit_small", "vit_base", "swin_tiny"} <= set(rows)
        for key, row in rows.items():
            arch, _, epochs = key.partition("/")
            recipe = rl.recipe("imagenet1k", name, arch=arch, **({"epochs": int(epochs)} if epochs else {}))
            for field, value in row.values.items():
                assert field == "encoder" or getattr(recipe, field) == value
            assert len(row.source) > 10 and set(row.ours) <= {*row.values, "clip_norm", "drop_path", "min_lr"}, key
    assert set(framework_class("simsiam").published["vit_small"].ours) >= {"base_lr", "weight_decay", "batch_size"}


@pytest.mark.parametrize(
    ("framework", "arch"),
    [("moco_v3", "vit_small"), ("moco_v3", "vit_base"), ("simclr", "vit_small"), ("simclr", "vit_base"),
     ("byol", "vit_base")],
)  # fmt: skip
def test_the_comparison_of_the_moco_v3_paper_shares_one_encoder(framework, arch):
    recipe = rl.recipe("imagenet1k", framework, arch=arch)
    assert (recipe.encoder_init, recipe.positions, recipe.freeze_patch_projection) == ("moco_v3", "sincos", True)


@pytest.mark.parametrize("framework", ["moco_v2", "dino", "moby", "simsiam"])
def test_the_others_train_positions_and_patch_projection(framework):
    recipe = rl.recipe("imagenet1k", framework)
    assert (recipe.positions, recipe.freeze_patch_projection) == ("learned", False)


TABLE_1 = [  # framework, arch, epochs
    ("simclr", "vit_small", 300), ("byol", "vit_small", 300), ("moco_v2", "vit_small", 300),
    ("moco_v2", "vit_small", 800), ("moco_v3", "vit_small", 300), ("moco_v3", "vit_small", 600),
    ("moby", "vit_small", 300), ("dino", "vit_small", 300), ("dino", "vit_small", 800), ("simclr", "vit_base", 300),
    ("byol", "vit_base", 300), ("moco_v3", "vit_base", 300), ("moco_v3", "vit_base", 600), ("dino", "vit_base", 800),
    ("moco_v3", "swin_tiny", 300), ("moby", "swin_tiny", 100), ("moby", "swin_tiny", 300),
]  # fmt: skip


@pytest.mark.parametrize(("framework", "arch", "epochs"), TABLE_1)
def test_every_row_of_table_1_has_a_recipe(framework, arch, epochs):
    recipe = rl.recipe("imagenet1k", framework, arch=arch, epochs=epochs)
    assert recipe.epochs == epochs and recipe.reconstruction == "multi" and recipe.image_size == 224
    with torch.device("meta"):
        rl.RePre.from_recipe(recipe)


def test_dino_has_other_crops_for_vit_b_and_for_800_epochs():
    short = rl.recipe("imagenet1k", "dino").views
    assert [v.size for v in short] == [224, 224] + [96] * 8
    assert (short[0].scale, short[2].scale) == ((0.4, 1.0), (0.05, 0.4))
    for long in (rl.recipe("imagenet1k", "dino", epochs=800), rl.recipe("imagenet1k", "dino", arch="vit_base")):
        assert [v.size for v in long.views] == [224, 224] + [96] * 10
        assert (long.views[0].scale, long.views[2].scale) == ((0.25, 1.0), (0.05, 0.25))


def test_schedules_at_their_corners():
    recipe = rl.recipe("imagenet1k", "dino")
    assert rate_at(recipe, 0, 1000, 100) == 0
    assert rate_at(recipe, 100, 1000, 100) == pytest.approx(2e-3)
    assert rate_at(recipe, 550, 1000, 100) == pytest.approx((2e-3 + 1e-6) / 2)
    assert decay_at(recipe, 0, 1000) == 0.04 and decay_at(recipe, 1000, 1000) == pytest.approx(0.4)
    assert decay_at(recipe, 500, 1000) == pytest.approx(0.22)


@pytest.mark.parametrize("framework", ["moco_v3", "byol", "moby"])
def test_asymmetric_views_at_224(framework):
    first, second = framework_class(framework).views(224, 16)
    assert (first.blur, second.blur, first.solarise, second.solarise) == (1.0, 0.1, 0.0, 0.2)
    assert first.jitter == (0.4, 0.4, 0.2, 0.1) and first.scale == (0.08, 1) and first.blur_sigma == (0.1, 2.0)


def test_dino_crops_at_224():
    views = framework_class("dino").views(224, 16)
    assert [v.size for v in views] == [224, 224] + [96] * 8
    assert views[0].scale == (0.4, 1.0) and views[2].scale == (0.05, 0.4)
    assert [v.blur for v in views[:3]] == [1.0, 0.1, 0.5] and [v.solarise for v in views[:3]] == [0, 0.2, 0]
    assert {v.interpolation for v in views} == {"bicubic"}


def test_moco_v2_of_vit_b_has_the_views_of_its_source():
    view = rl.recipe("imagenet1k", "moco_v2", arch="vit_base").views[1]
    assert view.jitter == (0.8, 0.8, 0.8, 0.2) and view.blur == 0.5 and math.isclose(view.scale[0], 0.08)
    assert rl.recipe("imagenet1k", "moco_v2", arch="vit_small").views[1].scale == (0.2, 1)


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "none"])
@pytest.mark.parametrize("arch", ["vit_small", "vit_base", "swin_tiny"])
def test_how_the_encoder_begins_is_a_published_setting_at_224(framework, arch):
    """Not one that is left over from the recipe for small images."""
    held, published = rl.recipe("imagenet1k", framework, arch=arch), framework_class(framework).published[arch].values
    for name in ("encoder_init", "positions", "freeze_patch_projection"):
        assert getattr(held, name) == published.get(name, FIELDS[name].default)


def test_simclr_and_moco_v2_views_at_224():
    view = framework_class("simclr").views(224, 16)[0]
    assert view.jitter == (0.8, 0.8, 0.8, 0.2) and view.blur == 0.5 and math.isclose(view.scale[0], 0.08)
    for name in ("moco_v2", "simsiam"):
        view = framework_class(name).views(224, 16)[1]
        assert view.jitter == (0.4, 0.4, 0.4, 0.1) and view.blur == 0.5 and view.scale == (0.2, 1)
