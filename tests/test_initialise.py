"""Published initialisations against their published code, written out again here."""

import math

import pytest
import torch

from repre_lite.encoder import build_encoder
from repre_lite.runtime.errors import UserError


def published_moco_v3(vit):
    """The order and the bounds of moco-v3's vits.py."""
    for name, module in vit.named_modules():
        if isinstance(module, torch.nn.Linear):
            if "qkv" in name:
                bound = math.sqrt(6.0 / float(module.weight.shape[0] // 3 + module.weight.shape[1]))
                torch.nn.init.uniform_(module.weight, -bound, bound)
            else:
                torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    torch.nn.init.normal_(vit.cls_token, std=1e-6)
    patch = vit.patch_embed.patch_size
    bound = math.sqrt(6.0 / float(3 * patch[0] * patch[1] + vit.embed_dim))
    torch.nn.init.uniform_(vit.patch_embed.proj.weight, -bound, bound)
    torch.nn.init.zeros_(vit.patch_embed.proj.bias)


def test_moco_v3_equals_the_published_code():
    torch.manual_seed(0)
    reference = build_encoder("vit_micro", 32).backbone
    with torch.no_grad():
        published_moco_v3(reference)
    torch.manual_seed(0)
    ours = build_encoder("vit_micro", 32, encoder_init="moco_v3").backbone
    for name, value in reference.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-6), name


def test_dino_draws_everything_with_std_002():
    torch.manual_seed(0)
    vit = build_encoder("vit_small", 32, encoder_init="dino").backbone
    assert vit.cls_token.std().item() == pytest.approx(0.02, rel=0.15)  # timm's own is 1e-6
    assert vit.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert vit.blocks[3].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert not vit.blocks[3].mlp.fc1.bias.any()


@pytest.mark.parametrize("scheme", ["moco_v3", "dino"])
def test_a_swin_takes_what_applies(scheme):
    swin = build_encoder("swin_micro", 32, encoder_init=scheme, positions="sincos").backbone
    weight = swin.layers[0].blocks[0].attn.qkv.weight
    if scheme == "moco_v3":
        assert weight.abs().max().item() == pytest.approx(math.sqrt(6 / 96), rel=1e-3)
        assert swin.patch_embed.proj.weight.abs().max().item() <= math.sqrt(6 / (3 * 2 * 2 + 48))
    else:
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(p.requires_grad for p in swin.parameters())


def test_timm_is_timms():
    torch.manual_seed(0)
    one = build_encoder("vit_micro", 32)
    torch.manual_seed(0)
    other = build_encoder("vit_micro", 32, encoder_init="timm", positions="learned")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(p.requires_grad for p in one.parameters())


def test_sincos_positions_and_frozen_projection():
    encoder = build_encoder("vit_micro", 32, positions="sincos", freeze_patch_projection=True)
    table = encoder.backbone.pos_embed[0]  # (1 + N, C)
    quarter, grid = encoder.width // 4, encoder.tap_grids[0]
    assert not table[0].any() and not encoder.backbone.pos_embed.requires_grad
    assert torch.allclose(table[1, quarter : 2 * quarter], torch.ones(quarter))  # cos 0 at the first patch
    assert table[2, 0].item() == pytest.approx(0.841471, abs=1e-5)  # sin 1: one column to the right
    assert table[1 + grid, 2 * quarter].item() == pytest.approx(0.841471, abs=1e-5)  # and one row down
    frozen = {name for name, p in encoder.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_freezing_leaves_a_swin_and_a_resnet_alone():
    swin = build_encoder("swin_micro", 32, freeze_patch_projection=True).backbone
    assert all(p.requires_grad for p in swin.parameters())
    with torch.device("meta"):
        hybrid = build_encoder("vit_tiny_r_s16_p8_224", 64, freeze_patch_projection=True).backbone
    assert all(p.requires_grad for p in hybrid.patch_embed.backbone.parameters())


def test_sincos_needs_a_width_of_quarters():
    with pytest.raises(UserError, match="multiple of 4"):
        build_encoder("vit_micro", 32, embed_dim=42, num_heads=2, positions="sincos")
