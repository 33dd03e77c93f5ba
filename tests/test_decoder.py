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
def test_output_has_the_images_size(arch, fusion, mode, width, layers):
    encoder = build_encoder(arch, 32)
    decoder = ReconstructionDecoder.for_encoder(encoder, fusion, layers, width, mode)
    taps = [torch.randn(2, c, g, g) for c, g in zip(encoder.tap_widths, encoder.tap_grids, strict=True)]
    taps = [tap.requires_grad_() for tap in taps]
    reconstruction = decoder(taps)
    assert reconstruction.shape == (2, 3, 32, 32)
    assert len(decoder.stages(taps)) == len(taps) - 1
    reconstruction.square().sum().backward()
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
    expected = torch.empty(1, 3, 4, 4)
    for channel in range(3):
        for i in range(4):
            for j in range(4):
                expected[0, channel, i, j] = vectors[0, channel * 4 + i % 2 * 2 + j % 2, i // 2, j // 2]
    assert torch.allclose(decoder([shallow, middle, deep]), expected, atol=1e-6)


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


def test_a_decoder_can_learn_an_image():
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


def gradient_times_tap(init, mode="multi", fusion="conv"):
    """At the first step, sum |gradient * tap| of each tap, shallow to deep, on a view of smooth noise."""
    torch.manual_seed(0)
    encoder = build_encoder("vit_micro", 32)
    decoder = ReconstructionDecoder.for_encoder(encoder, fusion=fusion, width="light", mode=mode, init=init)
    view = F.interpolate(torch.rand(8, 3, 4, 4), size=32, mode="bilinear")
    taps = [tap.detach().requires_grad_() for tap in encoder((view - 0.45) / 0.22).taps]
    (decoder(taps) - view).abs().mean().backward()
    return [0.0 if tap.grad is None else (tap.grad * tap).abs().sum().item() for tap in taps]


def test_every_tap_receives_gradient_from_the_start():
    he, torchs = gradient_times_tap("he"), gradient_times_tap("torch")
    assert max(he) < 6 * min(he)
    assert max(torchs) > 50 * min(torchs)  # PyTorch's initialisation mutes the deep taps
    single = gradient_times_tap("he", "single")[-1]
    assert min(he) < single < 6 * sum(he)  # and `single` starts at the level of `multi`
    assert gradient_times_tap("torch", "single")[-1] < sum(torchs) / 10


def test_transformer_fusion_passes_gradient_to_every_tap_too():
    taps = gradient_times_tap("he", fusion="transformer")
    assert max(taps) < 10 * min(taps)  # with std 0.02 for its 1x1 convolution too: about 80


def test_he_initialisation_keeps_the_scale_through_a_block():
    torch.manual_seed(0)
    decoder = ReconstructionDecoder((64, 64), (32, 32), image_size=32, layers=4)
    x = torch.randn(2, 64, 32, 32)
    assert decoder.stages([x, x])[0].square().mean().item() == pytest.approx(1, rel=0.4)
    for conv in (decoder.blocks[0].fusion[0], decoder.blocks[0].fusion[2]):
        assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.in_channels)) ** 0.5, rel=0.02)
        assert not conv.bias.any()


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro"])
def test_transformer_fusion_starts_as_the_encoder_does(arch):
    torch.manual_seed(0)
    decoder = ReconstructionDecoder.for_encoder(build_encoder(arch, 32), fusion="transformer")
    for module in decoder.blocks.modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1) and not module.bias.any()
    plain = ReconstructionDecoder.for_encoder(build_encoder(arch, 32), fusion="transformer", init="torch")
    assert any(module.bias.any() for module in plain.blocks.modules() if isinstance(module, torch.nn.Linear))


def test_taps_of_another_number_or_shape_are_refused():
    decoder = ReconstructionDecoder((4, 8), (4, 2), image_size=8)
    right = [torch.zeros(1, 4, 4, 4), torch.zeros(1, 8, 2, 2)]
    assert decoder(right).shape == (1, 3, 8, 8)
    wrong = [right[:1], [*right, right[1]], right[::-1], [right[0], torch.zeros(1, 8, 4, 4)]]
    for taps in wrong:
        with pytest.raises(UserError, match="the decoder is built for 2 taps"):
            decoder(taps)


@pytest.mark.parametrize(
    "wrong", [{"fusion": "mlp"}, {"layers": 0}, {"width": 0}, {"mode": "both"}, {"init": "zero"}, {"image_size": 18}]
)
def test_invalid_values_are_one_clear_line(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}") as caught:
        ReconstructionDecoder(**({"tap_widths": (8, 8), "tap_grids": (4, 4), "image_size": 16} | wrong))
    assert "\n" not in str(caught.value)


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
