"""What a step costs: the decoder's price that is claimed, and memory against sums by hand."""

import dataclasses

import pytest
import torch
from torch import nn

import repre_lite as rl
from repre_lite.planning.costs import Remembered, activations, blank_views, cores, step_flops
from repre_lite.repre import RePre

ARCHS = {"vit_micro": ("scenes", 0.04), "vit_small": ("imagenet1k", 0.04), "vit_base": ("imagenet1k", 0.04),
         "swin_tiny": ("imagenet1k", 0.06)}  # fmt: skip
CASES = [("moco_v3", arch) for arch in ARCHS] + [
    (name, arch) for name in ("byol", "moby") for arch in ("vit_micro", "swin_tiny")
]


@pytest.mark.parametrize(("framework", "arch"), CASES)
def test_the_default_branch_costs_what_is_claimed(framework, arch):
    scale, claim = ARCHS[arch]
    recipe = rl.recipe(scale, framework, arch=arch)
    assert recipe.fusion_layers == 2 and recipe.decoder_width == "light"
    added = step_flops(recipe) / step_flops(dataclasses.replace(recipe, reconstruction="none")) - 1
    assert 0.01 < added <= claim


def test_checkpointing_repeats_the_forward_of_the_blocks():
    recipe = rl.recipe("scenes", "moco_v3", reconstruction="none")
    again = step_flops(dataclasses.replace(recipe, activation_checkpointing=True)) - step_flops(recipe)
    tokens, width, depth = 65, 96, 8
    # all but the last map of the MLP, whose result no gradient needs
    block = 2 * (8 * width**2 * tokens + 2 * tokens**2 * width)
    assert again == 2 * depth * block  # both views; the target has no backward pass


def test_remembered_bytes_against_a_sum_by_hand():
    model = RePre.from_recipe(rl.recipe("scenes", "moco_v3", reconstruction="none"))
    x, layer = torch.ones(3, 5, requires_grad=True), nn.Linear(5, 7)
    with Remembered(model) as kept:
        hidden = layer(x)  # remembers x, 60 bytes, and the layer's weight, 140
        assert kept.total == 60 + 140
        (hidden.exp() * layer(x)).sum()  # exp its result, 84; the product that and the second factor, 84; x once
    assert kept.total == 60 + 140 + 84 + 84
    with Remembered(model) as kept:
        model.framework.online.backbone.norm.weight.exp()
    assert kept.total == 4 * 96  # the result of exp, and nothing of the model's own


@pytest.mark.parametrize("arch", ["swinv2_tiny_window8_256", "vit_relpos_small_patch16_224"])
def test_blocks_of_every_kind_are_counted(arch):
    recipe = rl.recipe("imagenet1k", "simclr", arch=arch, image_size=256 if "256" in arch else 224)
    _, each, block = activations(recipe)
    assert 0 < block < each / 3


def test_activations_grow_with_the_images():
    recipe = rl.recipe("scenes", "moco_v3")
    once, each, block = activations(recipe, half=False)
    model = RePre.from_recipe(recipe)
    with Remembered(model) as kept:
        model(blank_views(recipe, 12))
    assert kept.total == pytest.approx(once + 12 * each, rel=0.01)
    assert sorted(kept.blocks.values()) == [0] * 8 + [12 * block] * 8  # the target keeps nothing
    assert 8 * block < each < 8 * 1.5 * block
    saving = activations(dataclasses.replace(recipe, activation_checkpointing=True), half=False)
    assert saving[1] < each - 7 * block
    halved = activations(recipe)
    assert 0.5 * each < halved[1] < 0.75 * each


def test_cores_are_whole_and_said_once_if_equal():
    assert cores(0.2, 0.9) == cores(1, 1) == "1 core"
    assert cores(1.2, 1.9) == "2 cores" and cores(0.9, 1.1) == "1 to 2 cores"
