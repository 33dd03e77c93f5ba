"""Taps are what timm's blocks produce, and only public interfaces are asked."""

import copy

import pytest
import timm
import torch

from repre_lite.encoder import build_encoder, encode, fix_sincos_positions, freeze_patch_projection, tap_indices
from repre_lite.runtime.errors import UserError


def images(size=32, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_taps_are_the_blocks_raw_outputs_without_class_token():
    encoder = build_encoder("vit_micro", 32).eval()
    seen = []
    handles = [block.register_forward_hook(lambda m, i, o: seen.append(o)) for block in encoder.backbone.blocks]
    features = encoder(images())
    for handle in handles:
        handle.remove()
    assert encoder.tap_indices == (1, 3, 5, 7)
    for index, tap in zip(encoder.tap_indices, features.taps, strict=True):
        tokens = seen[index][:, 1:]  # (B, N, C)
        assert torch.equal(tap, tokens.transpose(1, 2).reshape(tap.shape))


def test_swin_taps_are_the_last_features_of_the_stages():
    encoder = build_encoder("swin_micro", 32).eval()
    seen = []
    handles = [stage.blocks.register_forward_hook(lambda m, i, o: seen.append(o)) for stage in encoder.backbone.layers]
    features = encoder(images())
    for handle in handles:
        handle.remove()
    assert encoder.tap_indices == (0, 1, 2)
    for stage, tap in zip(seen, features.taps, strict=True):
        assert torch.equal(tap, stage.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_micro", 32),
        ("vit_small", 32),
        ("swin_micro", 32),
        ("swin_tiny", 32),
        ("vit_tiny", 64),
        ("vit_tiny", 224),
        ("swin_micro", 224),
        ("deit3_small_patch16_224", 32),
        ("vit_tiny_patch16_224", 224),
        ("swin_tiny_patch4_window7_224", 32),
    ],
)
def test_shapes_and_pooled_feature(name, size):
    encoder = build_encoder(name, size).eval()
    x = images(size, 1)
    with torch.no_grad():
        features = encoder(x)
        assert torch.equal(encoder(x, taps=False).pooled, features.pooled)
        assert torch.allclose(encoder.backbone(x), features.pooled, atol=1e-5)
    assert features.pooled.shape == (1, encoder.width)
    for tap, width, grid in zip(features.taps, encoder.tap_widths, encoder.tap_grids, strict=True):
        assert tap.shape == (1, width, grid, grid)


def test_twelve_blocks_give_the_papers_taps():
    vit = timm.create_model("vit_small_patch16_224", num_classes=0)
    assert tap_indices(vit) == (2, 5, 8, 11)
    assert tap_indices(vit, 5)[-1] == 11 and len(set(tap_indices(vit, 5))) == 5  # 12 is no multiple of 5
    assert tap_indices(timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)) == (0, 1, 2, 3)


def test_encode_leaves_a_plain_backbone_plain():
    backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=8)
    before = set(backbone.state_dict())
    features = encode(backbone, images())
    twin = copy.deepcopy(backbone).eval()
    assert set(twin.state_dict()) == before and len(features.taps) == 4
    assert not any(module._forward_hooks for module in backbone.modules())


def test_gradient_reaches_the_encoder_from_every_tap():
    encoder = build_encoder("vit_micro", 32)
    for index in range(4):
        encoder.zero_grad()
        encoder(images()).taps[index].sum().backward()
        assert encoder.backbone.patch_embed.proj.weight.grad.abs().sum() > 0
        deeper = encoder.tap_indices[index] + 1
        if deeper < 8:
            assert encoder.backbone.blocks[deeper].mlp.fc1.weight.grad is None


def test_fixed_positions_and_frozen_projection():
    encoder = build_encoder("vit_micro", 32)
    fix_sincos_positions(encoder)
    freeze_patch_projection(encoder)
    table = encoder.backbone.pos_embed[0]  # (1 + N, C)
    assert torch.equal(table[0], torch.zeros(96)) and not encoder.backbone.pos_embed.requires_grad
    assert torch.allclose(table[1, 24:48], torch.ones(24))  # cos 0 at the first patch
    assert table[2, 0].item() == pytest.approx(0.841471, abs=1e-5)  # sin 1: one column to the right
    assert table[9, 48].item() == pytest.approx(0.841471, abs=1e-5)  # and one row down, the grid being 8 wide
    assert not encoder.backbone.patch_embed.proj.weight.requires_grad


@pytest.mark.parametrize(
    ("name", "size", "more"),
    [
        ("resnet18", 32, {}),
        ("no_such", 32, {}),
        ("vit_micro", 30, {}),
        ("vit_micro", 32, {"taps": 9}),
        ("vit_micro", 32, {"taps": 1}),
        ("swin_micro", 32, {"taps": 2}),
        ("vit_micro", 32, {"patch_size": 5}),
    ],
)
def test_what_cannot_be_is_one_clear_line(name, size, more):
    with pytest.raises(UserError, match="^--") as caught:
        build_encoder(name, size, **more)
    assert "\n" not in str(caught.value)
