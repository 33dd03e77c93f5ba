"""An encoder gives the same taps in a dense task, takes images of any size, and refuses weights that do not all fit."""

import pytest
import torch
from small import TINY, TINY_SWIN
from timm.layers import resample_abs_pos_embed

import repre_lite as rl
from repre_lite.transfer.backbone import DenseBackbone

V2 = TINY_SWIN | {"patch_size": 2, "window_ratio": 8}  # windows of 2; its stages have another name than a Swin's


def encoder(arch):
    tiny = {"vit_micro": TINY, "swin_micro": TINY_SWIN, "swinv2_cr_tiny_ns_224": V2}[arch]
    whole = rl.build_encoder(arch, 32, **tiny).eval()
    if arch.startswith("swinv2"):  # whose norms begin at zero, which hides its blocks
        for parameter in whole.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return whole


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro", "swinv2_cr_tiny_ns_224"])
def test_taps_are_those_of_the_encoder(arch):
    whole = encoder(arch)
    images = torch.randn(2, 3, 32, 32)
    backbone = DenseBackbone(whole).eval()
    maps = backbone(images)
    same = zip(maps, whole(images).taps, strict=True)
    for here, there in list(same)[
        : 4 if arch == "vit_micro" else 2
    ]:  # Swin's last grid was a single window, not shifted
        torch.testing.assert_close(here, there)
    assert backbone.widths == whole.tap_widths
    assert [side * stride for (*_, side), stride in zip((y.shape for y in maps), backbone.strides, strict=True)] == [
        32
    ] * len(maps)


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro", "swinv2_cr_tiny_ns_224"])
@pytest.mark.parametrize("size", [(37, 53), (8, 8), (64, 32)])
def test_any_size_is_padded_to_whole_cells(arch, size):
    backbone = DenseBackbone(encoder(arch)).eval()
    maps = backbone(torch.randn(1, 3, *size))
    for y, stride in zip(maps, backbone.strides, strict=True):
        assert y.shape[-2:] == tuple(-(-side // backbone.multiple) * backbone.multiple // stride for side in size)


def test_padding_is_zeros_below_and_to_the_right():
    backbone = DenseBackbone(encoder("vit_micro")).eval()
    images = torch.randn(1, 3, 30, 29)
    padded = torch.zeros(1, 3, 32, 32)
    padded[..., :30, :29] = images
    torch.testing.assert_close(backbone(images), backbone(padded))


def test_positions_are_interpolated_between_their_neighbours():
    whole = encoder("vit_micro")
    pos = whole.backbone.pos_embed
    wanted = resample_abs_pos_embed(pos, (12, 12), (8, 8), num_prefix_tokens=1)
    there = DenseBackbone(whole, positions_at=48)
    torch.testing.assert_close(there.model.pos_embed, wanted)
    assert torch.equal(there.model.pos_embed[:, 0], pos[:, 0]) and there.model.pos_embed.requires_grad
    images = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(there.eval()(images), DenseBackbone(whole).eval()(images))  # at once, or at every step


def test_a_frozen_backbone_has_no_gradient_and_stays_in_evaluation_mode():
    backbone = DenseBackbone(encoder("vit_micro"), frozen=True, drop_path=0.5).train()
    maps = backbone(torch.randn(1, 3, 32, 32))
    assert not backbone.model.training and not any(y.requires_grad for y in maps)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_every_parameter_is_used():
    for arch in ("vit_micro", "swin_micro"):
        backbone = DenseBackbone(encoder(arch))
        torch.stack([y.square().sum() for y in backbone(torch.randn(2, 3, 40, 40))]).sum().backward()
        assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []
