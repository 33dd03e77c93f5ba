"""The decoder against a hand-built case, its shapes, and where its gradient goes."""

import pytest
import torch
from torch.nn import functional as F

from repre_lite.decoder import ReconstructionDecoder, light_width
from repre_lite.encoder import build_encoder
from repre_lite.runtime.errors import UserError


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro", "swin_tiny"])
@pytest.mark.parametrize("fusion", ["conv", "transformer"])
@pytest.mark.parametrize("mode", ["multi", "single"])
@pytest.mark.parametrize("width", [None, 40])
@pytest.mark.parametrize("layers", [1, 2])
def test_output_has_the_pictures_size(arch, fusion, mode, width, layers):
    encoder = build_encoder(arch, 32)
    decoder = ReconstructionDecoder.for_encoder(encoder, fusion, layers, width, mode)
    taps = [torch.randn(2, c, g, g) for c, g in zip(encoder.tap_widths, encoder.tap_grids, strict=True)]
    taps = [tap.requires_grad_() for tap in taps]
    picture = decoder(taps)
    assert picture.shape == (2, 3, 32, 32)
    assert len(decoder.stages(taps)) == len(taps) - 1
    picture.square().sum().backward()
    reached = [tap.grad is not None and bool(tap.grad.abs().sum() > 0) for tap in taps]
    assert reached == ([True] * len(taps) if mode == "multi" else [False] * (len(taps) - 1) + [True])
    assert all(p.grad is not None for p in decoder.parameters())


def test_conv_fusion_by_hand():
    """Three taps of one channel, one layer a block: relu(conv(cat(deep, shallow))) twice, then 1x1 and pixel shuffle."""
    decoder = ReconstructionDecoder((1, 1, 1), (2, 2, 2), image_size=4, layers=1)
    shallow, middle, deep = (torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(i)) for i in range(3))
    x = deep
    for block, tap in zip(decoder.blocks, (middle, shallow), strict=True):
        conv = block.fusion[0]
        x = F.relu(F.conv2d(torch.cat([x, tap], 1), conv.weight, conv.bias, padding=1))
    vectors = F.conv2d(x, decoder.head.weight, decoder.head.bias)  # (1, 12, 2, 2)
    picture = torch.empty(1, 3, 4, 4)
    for channel in range(3):
        for i in range(4):
            for j in range(4):
                picture[0, channel, i, j] = vectors[0, channel * 4 + i % 2 * 2 + j % 2, i // 2, j // 2]
    assert torch.allclose(decoder([shallow, middle, deep]), picture, atol=1e-6)


def test_swin_upsamples_the_deep_map_before_concatenation():
    decoder = ReconstructionDecoder((1, 2), (4, 2), image_size=8, layers=1)
    shallow, deep = torch.randn(1, 1, 4, 4), torch.randn(1, 2, 2, 2)
    up = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
    conv = decoder.blocks[0].fusion[0]
    fused = F.relu(F.conv2d(torch.cat([up, shallow], 1), conv.weight, conv.bias, padding=1))
    assert torch.allclose(decoder.stages([shallow, deep])[0], fused, atol=1e-6)


def test_parameters_of_the_literal_reading():
    """ViT-S, two layers at full width: 3 blocks of 9*(2C*C + C*C) weights, and the head: 12.2 M as counted by hand."""
    decoder = ReconstructionDecoder((384,) * 4, (14,) * 4, image_size=224)
    weights = 3 * (9 * 3 * 384**2 + 2 * 384) + 384 * 768 + 768
    assert sum(p.numel() for p in decoder.parameters()) == weights


def test_a_decoder_can_learn_a_picture():
    torch.manual_seed(0)
    encoder = build_encoder("vit_micro", 32)
    decoder = ReconstructionDecoder.for_encoder(encoder)
    view = torch.rand(4, 3, 32, 32)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    errors = []
    for _ in range(40):
        loss = (decoder(encoder(view).taps) - view).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert errors[-1] < 0.7 * errors[0]


@pytest.mark.parametrize("wrong", [{"fusion": "mlp"}, {"layers": 0}, {"width": 0}, {"mode": "both"}])
def test_what_cannot_be_is_one_clear_line(wrong):
    with pytest.raises(UserError):
        ReconstructionDecoder((8, 8), (4, 4), 16, **wrong)


@pytest.mark.parametrize(
    ("arch", "size", "width"),
    [("vit_small", 224, 128), ("vit_base", 224, 256), ("vit_micro", 32, 32), ("swin_tiny", 224, 64), ("swin_micro", 32, 32)],
)  # fmt: skip
def test_light_width(arch, size, width):
    with torch.device("meta"):
        encoder = build_encoder(arch, size)
        decoder = ReconstructionDecoder.for_encoder(encoder, width="light")
    assert light_width(encoder) == width
    assert {lateral.out_channels for lateral in decoder.laterals} == {width}


def test_full_width_is_the_encoders():
    encoder = build_encoder("vit_micro", 32)
    shapes = [
        {name: p.shape for name, p in ReconstructionDecoder.for_encoder(encoder, width=width).named_parameters()}
        for width in ("full", None)
    ]
    assert shapes[0] == shapes[1]
    with pytest.raises(UserError, match="light, full"):
        ReconstructionDecoder.for_encoder(encoder, width="wide")
