"""model.js in a real browser against torch: features, attention and reconstruction of random encoders within 1e-3."""

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.decoder import ReconstructionDecoder
from repre_lite.runtime.quantise import restore, shrink
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.live import live, model_script, why_not

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
RUN = """([packed, image]) => {
  const model = new Model(packed.config, packed.weights), { pooled, taps, attention } = model.encode(Float32Array.from(image));
  return { pooled: [...pooled], taps: taps.map((tap) => [...tap]), attention: attention.map((shares) => [...shares]),
           reconstruction: packed.config.decoder ? [...model.decode(taps)] : null };
}"""
TINY = {"embed_dim": 48, "depth": 4, "num_heads": 3}
CASES = {
    "vit_micro, sin-cos": ("vit_micro", 32, {"positions": "sincos", "encoder_init": "moco_v3"}, {"width": "light"}),
    "one layer, its own width": ("vit_micro", 32, TINY, {"layers": 1}),
    "single": ("vit_micro", 32, TINY, {"mode": "single"}),
    "two taps, patch 8": ("vit_micro", 64, TINY | {"taps": 2}, {"width": 20}),
    "uneven width": ("vit_micro", 16, {"embed_dim": 30, "depth": 5, "num_heads": 5, "patch_size": 2}, {"layers": 3}),
    "registers and LayerScale": ("vit_small_patch14_reg4_dinov2", 56, TINY | {"patch_size": 14}, {}),
    "no class token": ("vit_medium_patch16_gap_240", 64, TINY, {}),
    "average over patches": ("vit_wee_patch16_reg1_gap_256", 64, TINY, {}),
    "norm before the blocks": ("vit_base_patch16_clip_224", 64, TINY, {}),
}


@pytest.fixture(scope="module")
def page(chromium):
    page = chromium.new_page()
    page.add_script_tag(content=model_script() + "\nwindow.Model = Model;")
    yield page
    page.close()


def randomised(module):
    """Biases, norms and scales start at constants that hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def networks(case):
    name, size, options, decoding = CASES[case]
    torch.manual_seed(0)
    encoder = randomised(rl.build_encoder(name, size, **options))
    return encoder, randomised(ReconstructionDecoder.for_encoder(encoder, **decoding))


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_the_same_numbers_as_torch(page, case):
    encoder, decoder = networks(case)
    image = torch.rand(3, encoder.image_size, encoder.image_size, generator=torch.Generator().manual_seed(2))
    found = page.evaluate(RUN, [live(encoder, decoder, MEAN, STD, levels=None), image.flatten().tolist()])
    normalised = ((image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))[None]
    features = encoder(normalised)
    blocks, _ = capture(encoder.backbone, normalised[0])

    def compare(values, wanted, what):
        np.testing.assert_allclose(np.array(values), np.asarray(wanted).flatten(), atol=1e-3, rtol=1e-3, err_msg=what)

    compare(found["pooled"], features.pooled[0], "pooled")
    for values, tap in zip(found["taps"], features.taps, strict=True):
        compare(values, tap[0].permute(1, 2, 0), "tap")  # (h, w, C)
    for values, block in zip(found["attention"], blocks, strict=True):
        compare(values, block.dense(), "attention")
    compare(found["reconstruction"], decoder(features.taps)[0], "reconstruction")


@torch.no_grad()
def test_small_integers_give_what_the_restored_weights_give(page):
    encoder, decoder = networks("single")
    image = torch.rand(3, 32, 32)
    found = page.evaluate(RUN, [live(encoder, decoder, MEAN, STD), image.flatten().tolist()])
    for module in (encoder, decoder):
        state = module.state_dict()
        kernels = {name: t for name, t in state.items() if name.endswith(".weight") and t.ndim > 1}
        module.load_state_dict(state | restore(shrink(kernels)))
    normalised = ((image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))[None]
    wanted = decoder(encoder(normalised).taps)
    np.testing.assert_allclose(np.array(found["reconstruction"]), wanted.flatten().numpy(), atol=1e-3)


def test_without_decoder_the_encoder_runs_alone(page):
    encoder, _ = networks("single")
    found = page.evaluate(RUN, [live(encoder, None, MEAN, STD), [0.5] * 3 * 32 * 32])
    assert found["reconstruction"] is None
    assert len(found["pooled"]) == 48


def test_what_it_does_not_run_is_said():
    swin = rl.build_encoder("swin_micro", 32)
    assert "SwinTransformer" in why_not(swin, None)
    with pytest.raises(ValueError, match="plain ViTs"):
        live(swin, None, MEAN, STD)
    encoder = rl.build_encoder("vit_micro", 32, **TINY)
    assert "TransformerFusion" in why_not(encoder, ReconstructionDecoder.for_encoder(encoder, fusion="transformer"))
    assert why_not(encoder, ReconstructionDecoder.for_encoder(encoder)) is None
    for inside in ({"qk_norm": True}, {"scale_attn_norm": True}, {"scale_mlp_norm": True}):
        assert "without norms or gates inside" in why_not(rl.build_encoder("vit_micro", 32, **TINY, **inside), None)
