"""Taps are what timm's blocks produce, geometry is that of the built model, and only public interfaces are asked."""

import copy
import pickle
from unittest import mock

import pytest
import timm
import torch
from small import TINY
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.optim.swa_utils import AveragedModel

from repre_lite.decoder import ReconstructionDecoder
from repre_lite.encoder import (
    TappedEncoder,
    Taps,
    build_encoder,
    encode,
    tap_indices,
)
from repre_lite.frameworks import build_framework
from repre_lite.runtime.errors import UserError


def images(size=32, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def tiny_vit(**more):
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=8, **TINY | more)


def test_taps_are_the_blocks_raw_outputs_without_class_token():
    encoder = build_encoder("vit_micro", 32).eval()
    seen = []
    handles = [block.register_forward_hook(lambda m, i, o: seen.append(o)) for block in encoder.backbone.blocks]
    features = encoder(images())
    for handle in handles:
        handle.remove()
    assert encoder.tap_indices == features.taps.indices == (1, 3, 5, 7)
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
    assert encoder.tap_indices == features.taps.indices == (0, 1, 2)
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


def check_geometry(name, size):
    """On the meta device, `name` is refused in one line, or taps and reconstruction have the shapes the encoder says."""
    with torch.device("meta"):
        try:
            encoder = build_encoder(name, size)
        except UserError as error:
            assert "\n" not in str(error) and "size" in str(error)
            return str(error)
        features = encoder(torch.empty(2, 3, size, size))
        assert features.pooled.shape == (2, encoder.width)
        shapes = list(zip(encoder.tap_widths, encoder.tap_grids, encoder.tap_grids, strict=True))
        assert [tuple(tap.shape[1:]) for tap in features.taps] == shapes
        for fusion in ("conv", "transformer"):
            decoder = ReconstructionDecoder.for_encoder(encoder, fusion=fusion, width="light")
            assert decoder(features.taps).shape == (2, 3, size, size)
    return encoder


# One of every kind: distilled, parallel blocks, average pooling, register tokens, attention pooling, relative and rotary
# positions, a ResNet below, patches of 14 and 32 pixels, both later Swins.
KINDS = [
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch16_18x2_224",
    "vit_pwee_patch16_reg1_gap_256",
    "vit_dpwee_patch16_reg1_gap_256",
    "vit_so150m_patch16_reg4_map_256",
    "vit_relpos_small_patch16_224",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_dinov3",
    "vit_pe_core_tiny_patch16_384",
    "vit_tiny_r_s16_p8_224",
    "vit_small_resnet26d_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch32_224",
    "swinv2_tiny_window8_256",
    "swinv2_cr_tiny_ns_224",
    "swin_s3_tiny_224",
]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_timm_name_fits_or_is_refused(name):
    assert isinstance(check_geometry(name, 64 if "14" not in name else 56), TappedEncoder)
    check_geometry(name, 72)


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64, 72, 100, 224])
def test_every_accepted_timm_name_fits_or_is_refused(size):
    names = [name for name in timm.list_models() if name.startswith(("vit_", "deit", "swin"))]
    assert len(names) > 200
    for name in names:
        check_geometry(name, size)


@pytest.mark.parametrize(
    ("name", "size", "patch", "grids"),
    [("swin_micro", 50, 2, (25, 13, 7)), ("swin_tiny", 72, 4, (18, 9, 5, 3)), ("vit_tiny_r_s16_p8_224", 64, 16, (4,) * 4)],
)  # fmt: skip
def test_grids_are_those_of_the_built_model(name, size, patch, grids):
    with torch.device("meta"):
        encoder = build_encoder(name, size)
        taps = encoder(torch.empty(1, 3, size, size)).taps
    if "vit" not in name:
        assert (encoder.patch, encoder.tap_grids) == (patch, grids)
    assert tuple(tap.shape[-1] for tap in taps) == encoder.tap_grids


@pytest.mark.parametrize(
    ("name", "size", "patch"),
    [("vit_tiny_patch16_224", 100, 16), ("vit_small_patch14_dinov2", 32, 14), ("vit_micro", 30, 4), ("swin_micro", 33, 2)],
)  # fmt: skip
def test_an_image_that_is_not_whole_patches_is_refused(name, size, patch):
    with (
        torch.device("meta"),
        pytest.raises(UserError, match=f"patch_size={patch} does not divide image_size={size}"),
    ):
        build_encoder(name, size)


@pytest.mark.parametrize("name", ["vit_small_resnet26d_224", "swin_tiny_patch4_window7_224"])
def test_measuring_the_geometry_samples_nothing_and_changes_nothing(name):
    more = {"embed_dim": 32, "depth": 4, "num_heads": 2} if name.startswith("vit") else {}
    backbone = timm.create_model(name, num_classes=0, img_size=64, drop_path_rate=0.5, **more).train()
    before, random = copy.deepcopy(backbone.state_dict()), torch.get_rng_state()
    TappedEncoder(backbone, 64)
    assert torch.equal(torch.get_rng_state(), random) and backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_twelve_blocks_give_the_papers_taps():
    with torch.device("meta"):
        vit = timm.create_model("vit_small_patch16_224", num_classes=0)
        assert tap_indices(vit) == (2, 5, 8, 11)
        assert tap_indices(vit, 5)[-1] == 11 and len(set(tap_indices(vit, 5))) == 5  # 12 is not a multiple of 5
        assert tap_indices(timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)) == (0, 1, 2, 3)


def test_tap_blocks_choose_the_taps():
    encoder = build_encoder("vit_micro", 32, tap_blocks=[0, 3, 4]).eval()
    every = encode(encoder.backbone, images(), range(8)).taps
    taps = encoder(images()).taps
    assert encoder.tap_indices == taps.indices == (0, 3, 4)
    assert all(torch.equal(tap, every[index]) for index, tap in zip((0, 3, 4), taps, strict=True))
    assert build_encoder("vit_micro", 32, taps=2, tap_blocks=(1, 7)).tap_indices == (1, 7)
    assert build_encoder("swin_micro", 32, tap_blocks=(0, 2)).tap_grids == (16, 4)


def test_taps_are_a_tuple_that_survives_copies():
    taps = Taps([torch.zeros(1), torch.ones(1)], (2, 5))
    for twin in (copy.deepcopy(taps), pickle.loads(pickle.dumps(taps))):
        assert isinstance(twin, tuple) and twin.indices == (2, 5) and torch.equal(twin[1], taps[1])
    assert type(taps)(tap * 2 for tap in taps).indices == ()  # what helpers do that rebuild containers


def test_encode_leaves_a_plain_backbone_plain():
    backbone = tiny_vit()
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


def test_wrappers_are_looked_through():
    backbone = tiny_vit().eval()
    expected = encode(backbone, images())
    for wrapped in (AveragedModel(backbone), torch.compile(backbone, backend="eager"), torch.nn.DataParallel(backbone)):
        features = encode(wrapped, images())
        assert torch.equal(features.pooled, expected.pooled) and torch.equal(features.taps[0], expected.taps[0])
        assert TappedEncoder(wrapped, 32).tap_grids == (4, 4, 4, 4)


def test_data_parallel_that_would_not_average_gradients_is_refused():
    class Distributed(torch.nn.Module):
        """What DistributedDataParallel shows of itself."""

        def __init__(self, module):
            super().__init__()
            self.module = module

        def no_sync(self):
            raise NotImplementedError

    wrapped = Distributed(tiny_vit())
    assert len(encode(wrapped, images()).taps) == 4  # one process: nothing to average
    with mock.patch("repre_lite.encoder.world_size", return_value=2):
        with pytest.raises(UserError, match="DistributedDataParallel"):
            encode(wrapped, images())
        with torch.no_grad():
            assert len(encode(wrapped, images()).taps) == 4


def test_a_backbone_sharded_by_fsdp(tmp_path):
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        encoder, alone = TappedEncoder(tiny_vit(), 32), tiny_vit()
        expected = encoder(images()).taps[3]
        fully_shard(encoder, mesh=mesh)
        assert torch.equal(encoder(images()).taps[3], expected)
        fully_shard(alone, mesh=mesh)
        with pytest.raises(UserError, match=r"shard TappedEncoder\(backbone, image_size\) instead"):
            encode(alone, images())
        with pytest.raises(UserError, match="create TappedEncoder and ReconstructionBranch before fully_shard"):
            TappedEncoder(alone, 32)
        register_fsdp_forward_method(alone, "forward_intermediates")
        assert len(encode(alone, images()).taps) == 4
    finally:
        torch.distributed.destroy_process_group()


def test_encode_and_taps_compile_into_one_graph():
    backbone = tiny_vit().eval()
    compiled = torch.compile(lambda x: encode(backbone, x), backend="eager", fullgraph=True)
    assert torch.equal(compiled(images()).taps[3], encode(backbone, images()).taps[3])


@pytest.mark.parametrize(
    ("name", "size", "more", "message"),
    [
        ("resnet18", 32, {}, "arch=resnet18"),
        ("no_such", 32, {}, "arch=no_such"),
        ("vit_micro", 32, {"taps": 9}, "taps=9"),
        ("vit_micro", 32, {"taps": 1}, "taps=1"),
        ("swin_micro", 32, {"taps": 2}, "taps=2"),
        ("vit_micro", 32, {"tap_blocks": [2]}, "tap_blocks"),
        ("vit_micro", 32, {"tap_blocks": [2, 2]}, "tap_blocks"),
        ("vit_micro", 32, {"tap_blocks": [5, 2]}, "tap_blocks"),
        ("vit_micro", 32, {"tap_blocks": [2, 8]}, "from 0 to 7"),
        ("vit_micro", 32, {"tap_blocks": [-1, 2]}, "tap_blocks"),
        ("vit_micro", 32, {"taps": 3, "tap_blocks": [2, 7]}, "taps=3 and tap_blocks"),
        ("swin_micro", 32, {"tap_blocks": [0, 3]}, "stages"),
        ("vit_micro", 32, {"patch_size": 5}, "patch_size=5"),
        ("vit_micro", 32, {"patch_size": (4, 8)}, "patches"),
        ("vit_micro", 32, {"patch_size": 0}, "image_size"),
        ("vit_micro", (32, 48), {}, r"image_size=\(32, 48\)"),
        ("vit_micro", 0, {}, "image_size=0"),
        ("vit_micro", 32, {"no_such_argument": 1}, "vit_micro"),
        ("vit_micro", 32, {"encoder_init": "zero"}, "encoder_init=zero"),
        ("vit_micro", 32, {"positions": "none"}, "positions=none"),
    ],
)
def test_invalid_values_are_one_clear_line(name, size, more, message):
    with pytest.raises(UserError, match=message) as caught:
        build_encoder(name, size, **more)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)


def test_a_backbone_without_taps_is_refused():
    for use in (ReconstructionDecoder.for_encoder, lambda backbone: build_framework("moco_v3", backbone)):
        with pytest.raises(UserError, match=r"give TappedEncoder\(backbone, image_size\)"):
            use(tiny_vit())


def test_a_size_of_more_bytes_than_64_bits_count_is_one_line():
    with torch.device("meta"), pytest.raises(UserError, match="image_size=2000000000 does not fit"):
        build_encoder("vit_micro", 2 * 10**9)


def test_a_backbone_of_another_size_or_kind_is_refused():
    with pytest.raises(UserError, match="image_size=64"):
        TappedEncoder(tiny_vit(), 64)
    for module in (torch.nn.Linear(2, 2), timm.create_model("resnet18", num_classes=0)):
        with pytest.raises(UserError, match="not a timm ViT or Swin"):
            encode(module, images())


@pytest.mark.parametrize("indices", [(3, 1), (1, 1), (-1,), (0, 4), 2, (0.0, 1.0)])
def test_blocks_that_would_be_taken_for_others_are_refused(indices):
    """timm returns maps in their order in the network, one for each block, whatever is asked for."""
    with pytest.raises(UserError, match="in ascending order, from 0 to 3"):
        encode(tiny_vit(), images(), indices)
    assert encode(tiny_vit(), images(), torch.tensor([0, 3])).taps.indices == (0, 3)


def test_images_that_are_none_are_refused():
    for wrong in (images()[0], (images() * 255).to(torch.uint8)):
        with pytest.raises(UserError, match=r"give normalised floats \(B, 3, H, W\)"):
            encode(tiny_vit(), wrong)
    with pytest.raises(UserError, match="in_chans=3"):
        TappedEncoder(tiny_vit(in_chans=1), 32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (images().numpy(), "type ndarray: give a tensor"),
        (images().double(), r"torch.float64 for a backbone in torch.float32; give images.to\(torch.float32\)"),
        (images()[:, :1], r"this backbone reads \(B, 3, H, W\)"),
        (images().permute(0, 2, 3, 1), r"this backbone reads \(B, 3, H, W\)"),
        (images(64), "do not fit this backbone: .*64.*; resize them"),
    ],
)
def test_images_that_do_not_fit_the_backbone_are_one_clear_line(wrong, message):
    for indices in (None, ()):
        with pytest.raises(UserError, match=message) as caught:
            encode(tiny_vit(), wrong, indices)
        assert "\n" not in str(caught.value)


def test_an_autocast_converts_images():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert len(encode(tiny_vit(), images().bfloat16()).taps) == 4


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224"])
def test_a_backbone_that_does_not_pool_is_refused(name):
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0, global_pool="")
        for use in (lambda: TappedEncoder(backbone, 224), lambda: encode(backbone, torch.empty(1, 3, 224, 224))):
            with pytest.raises(UserError, match="has global_pool=''"):
                use()
        backbone.reset_classifier(0, "avg")
        assert encode(backbone, torch.empty(1, 3, 224, 224)).pooled.shape == (1, TappedEncoder(backbone, 224).width)


def test_what_holds_a_backbone_is_told_to_give_it():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Identity(), tiny_vit())

    listed = timm.create_model("swin_tiny_patch4_window7_224", img_size=224, features_only=True)
    for given, remedy in (
        (TappedEncoder(tiny_vit(), 32), r"call it, encoder\(images\), or give .* encoder.backbone"),
        (Own(), r"model.get_submodule\('body.1'\)"),
        (listed, "create the model without it"),
    ):
        for use in (lambda given: TappedEncoder(given, 32), lambda given: encode(given, images())):
            with pytest.raises(UserError, match=remedy):
                use(given)


def test_patches_dropped_while_training_make_no_map():
    backbone = tiny_vit(patch_drop_rate=0.5)
    for use in (lambda: TappedEncoder(backbone, 32), lambda: encode(backbone, images())):
        with pytest.raises(UserError, match="patch_drop_rate=0"):
            use()
    assert encode(backbone, images(), ()).pooled.shape == (2, 32)
    assert [tap.shape[1:] for tap in encode(backbone.eval(), images()).taps] == [(32, 4, 4)] * 4


@pytest.mark.parametrize("name", ["xcit_nano_12_p16_224", "hiera_tiny_224", "pvt_v2_b0", "pit_ti_224"])
def test_relatives_of_vit_and_swin_are_refused(name):
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    with pytest.raises(UserError, match="not a timm ViT or Swin"):
        ReconstructionDecoder.for_encoder(TappedEncoder(backbone, 224))
