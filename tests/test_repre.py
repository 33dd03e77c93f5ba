"""RePre: which branch touches what, and the branch in somebody else's loop."""

import copy
from unittest import mock

import pytest
import timm
import torch
from safetensors.torch import load_model, save_model
from timm.utils import ModelEmaV3
from torch._dynamo.testing import CompileCounter
from torch.distributed.fsdp import fully_shard
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import repre_lite as rl
from repre_lite.frameworks.base import encode_views
from repre_lite.hide import hidden_patches
from repre_lite.losses import FixedWeighting, negative_cosine
from repre_lite.recipes import recipe
from repre_lite.repre import RePre

SMALL = {"method": {"hidden": 64, "out": 32}}


def model_of(reconstruction="multi", framework="moco_v3", **more):
    options = {} if framework == "none" else SMALL
    return RePre.from_recipe(recipe("scenes", framework, reconstruction=reconstruction, **options, **more))


def views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(8, 3, 32, 32, generator=generator) for _ in range(2)]


def test_every_arm_starts_from_the_same_encoder_and_heads():
    arms = [model_of(r) for r in ("multi", "single", "none", "detached")]
    for arm in arms[1:]:
        for name, value in arm.framework.state_dict().items():
            assert torch.equal(value, arms[0].framework.state_dict()[name]), name


def test_one_online_forward_a_view_and_none_for_the_branch():
    model = model_of()
    encoder = model.framework.online
    with mock.patch.object(encoder, "forward", wraps=encoder.forward) as online:
        losses = model(views())
    assert online.call_count == 2
    assert [call.kwargs["taps"] for call in online.call_args_list] == [True, False]
    assert losses.reconstructed.shape == (8, 3, 32, 32)


def test_without_reconstruction_nothing_of_the_branch_is_there():
    model = model_of("none")
    assert model.decoder is None and model.weighting is None
    losses = model(views())
    assert losses.reconstruction is None and losses.reconstructed is None
    assert torch.equal(losses.total, losses.contrastive)


def test_the_target_is_the_view_before_normalisation():
    model = model_of()
    v = views()
    losses = model(v)
    assert losses.reconstruction.item() == pytest.approx((losses.reconstructed - v[0]).abs().mean().item(), abs=1e-7)


def test_mean_and_std_are_three_numbers_however_given():
    framework = model_of("none").framework
    model = RePre(framework, mean=torch.tensor([0.1, 0.2, 0.3]), std=[0.5] * 3)
    assert model.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    for mean in (0.5, [0.5]):
        with pytest.raises(rl.UserError, match="mean=.* give three numbers"):
            RePre(framework, mean=mean)


def test_gradient_reaches_all_taps_and_not_the_target():
    model, taps = model_of(), []
    draw = model.decoder.forward

    def watched(given):
        taps.extend(given)
        for tap in given:
            tap.retain_grad()
        return draw(given)

    with mock.patch.object(model.decoder, "forward", watched):
        losses = model(views())
    losses.reconstruction.backward()
    assert len(taps) == 4 and all(tap.grad.abs().sum() > 0 for tap in taps)
    blocks = model.framework.online.backbone.blocks
    assert all(block.mlp.fc1.weight.grad.abs().sum() > 0 for block in blocks)
    for target in (model.framework.target_encoder, model.framework.target_projector):
        assert all(p.grad is None and not p.requires_grad for p in target.parameters())
    assert model.framework.projector[0].weight.grad is None


def train(model, steps=3, lr=1e-3):
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for step in range(steps):
        losses = model(views(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        model.framework.update_target(step, steps)
    return losses


def test_detached_leaves_the_encoder_bit_identical_to_none():
    plain, detached = model_of("none"), model_of("detached")
    train(plain)
    losses = train(detached)
    for name, value in plain.framework.state_dict().items():
        assert torch.equal(value, detached.framework.state_dict()[name]), name
    assert losses.reconstruction is not None
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in detached.decoder.parameters())


def test_reconstruction_alone():
    model = model_of(framework="none")
    losses = model(views()[:1])
    assert losses.contrastive is None and torch.equal(losses.total, losses.reconstruction)
    with pytest.raises(rl.UserError):
        RePre(model.framework)


def test_a_negative_loss_is_shifted_before_weighting():
    model = model_of()
    type(model.framework).loss_floor = -1.0
    try:
        total = model.combine(torch.tensor(-1.0 + 2.0), torch.tensor(0.5))
    finally:
        type(model.framework).loss_floor = 0.0
    assert model.weights[0].item() == pytest.approx(1 / 4)  # 1 / (2 * (1 + 1))
    assert total.isfinite()


def test_hidden_patches_are_hidden_from_the_online_encoder_only():
    model = model_of()
    hidden = hidden_patches(0, 0, torch.arange(8), 0.5, model.framework.online.tap_grids[0])
    seen = {}
    for name in ("online", "target_encoder"):
        getattr(model.framework, name).register_forward_pre_hook(lambda m, i, n=name: seen.setdefault(n, i[0]))
    v = views()
    losses = model(v, hidden)
    side = model.framework.online.patch
    covered = hidden.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None].expand(-1, 3, -1, -1)
    whole = model.normalise(v[0])
    assert not seen["online"][covered].any() and torch.equal(seen["online"][~covered], whole[~covered])
    assert torch.equal(seen["target_encoder"], whole)
    assert losses.reconstruction.item() == pytest.approx((losses.reconstructed - v[0]).abs().mean().item(), abs=1e-7)


def test_nothing_hidden_changes_nothing():
    v, hidden = views(), hidden_patches(0, 0, torch.arange(8), 0.0, 4)
    assert not hidden.any()
    assert torch.equal(model_of()(v).total, model_of()(v, torch.zeros(8, 8, 8, dtype=torch.bool)).total)


def test_both_views_are_reconstructed_from_one_forward_each():
    one, both = model_of(), model_of(reconstruct_views="both")
    encoder, v = both.framework.online, views()
    with mock.patch.object(encoder, "forward", wraps=encoder.forward) as online:
        losses = both(v)
    assert [call.kwargs["taps"] for call in online.call_args_list] == [True, True]
    swapped = one(v[::-1])
    expected = (one(v).reconstruction + swapped.reconstruction) / 2
    assert losses.reconstruction.item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.equal(losses.reconstructed, one(v).reconstructed)  # view 1's
    for framework in ("none", "moco_v2"):
        options = {"method": {"queue": 16}} if framework == "moco_v2" else {}
        with pytest.raises(rl.UserError, match="reconstruct_views=both"):
            RePre.from_recipe(recipe("scenes", framework, reconstruct_views="both", **options))


def test_views_that_share_a_forward_have_the_taps_of_views_alone():
    encoder = model_of(encoder={"dynamic_img_size": True}).framework.online.eval()
    v = [*views(), torch.rand(8, 3, 32, 32), torch.rand(8, 3, 16, 16), torch.rand(8, 3, 32, 32)]  # neighbours share
    with mock.patch("repre_lite.frameworks.base.together", return_value=False):
        alone = encode_views(encoder, v, taps=2)
    with mock.patch("repre_lite.frameworks.base.together", return_value=True):
        shared = encode_views(encoder, v, taps=2)
    for one, other in zip(alone, shared, strict=True):
        assert torch.allclose(one.pooled, other.pooled, atol=1e-5)
        assert len(one.taps) == len(other.taps)
        for tap, same in zip(one.taps, other.taps, strict=True):
            assert torch.allclose(tap, same, atol=1e-5)
    assert [len(features.taps) for features in shared] == [4, 4, 0, 0, 0]


def backbone_of(name="vit_tiny_patch16_224", **more):
    vit = {"patch_size": 4, "embed_dim": 48, "depth": 4}
    swin = {"patch_size": 2, "embed_dim": 24, "depths": (1, 1, 1), "num_heads": (3, 6, 12), "window_size": 4}
    return timm.create_model(name, num_classes=0, img_size=32, **(vit if name.startswith("vit") else swin) | more)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_the_branch_in_somebody_elses_loop(name):
    torch.manual_seed(0)
    backbone = backbone_of(name)
    target = copy.deepcopy(backbone).requires_grad_(False)
    branch = rl.ReconstructionBranch.for_backbone(
        backbone, image_size=32, **({"taps": 2} if name.startswith("vit") else {})
    )
    optimiser = torch.optim.AdamW([{"params": backbone.parameters()}, *branch.parameter_groups()], lr=1e-3)
    errors = []
    for step in range(12):
        view, other = views(step % 2)
        features = rl.encode(backbone, view - 0.5, branch.tap_indices)
        reconstruction = branch(features.taps, view)
        loss = branch.weigh(negative_cosine(features.pooled, target(other - 0.5)), reconstruction, loss_floor=-1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(reconstruction.item())
    assert errors[-1] < errors[0]
    assert list(backbone.state_dict()) == list(target.state_dict())


def test_parameter_groups_hold_every_parameter_once():
    branch = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32)
    decoder, weights = branch.parameter_groups()
    assert {id(p) for p in branch.parameters()} == {id(p) for p in decoder["params"] + weights["params"]}
    assert weights["params"][0] is branch.weighting.log_variances and set(decoder) == {"params"}
    optimiser = torch.optim.AdamW(branch.parameter_groups(), lr=1e-4, weight_decay=0.1)
    assert [(g["lr"], g["weight_decay"]) for g in optimiser.param_groups] == [(1e-4, 0.1), (1e-2, 0.0)]
    assert branch.parameter_groups(weighting_lr=3e-3)[1]["lr"] == 3e-3
    fixed = rl.ReconstructionBranch(branch.decoder, FixedWeighting())
    assert len(fixed.parameter_groups()) == 1


def test_log_variances_follow_a_falling_loss():
    """With the encoder's rate they would take thousands of steps (review of the own-loop example)."""
    branch = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32)
    optimiser = torch.optim.AdamW(branch.parameter_groups(), lr=1.5e-4)
    for step in range(400):
        optimiser.zero_grad()
        branch.weigh(torch.tensor(1.0), torch.tensor(0.3 if step == 0 else 0.05)).backward()
        optimiser.step()
    assert branch.weighting.weights[1].item() == pytest.approx(10, rel=0.15)


def test_the_branch_refuses_taps_of_other_blocks():
    backbone, view = backbone_of(depth=12), views()[0]
    three = rl.ReconstructionBranch.for_backbone(backbone, 32, taps=3)
    four = rl.ReconstructionBranch.for_backbone(backbone, 32, tap_blocks=(0, 1, 2, 11))
    taps = rl.encode(backbone, view).taps
    for branch in (three, four):
        with pytest.raises(rl.UserError, match=r"built for taps of blocks .* given those of \(2, 5, 8, 11\)"):
            branch(taps, view)
        assert branch(rl.encode(backbone, view, branch.tap_indices).taps, view).isfinite()
    with pytest.raises(rl.UserError, match="built for 3 taps"):
        three(list(taps), view)
    with pytest.raises(rl.UserError, match="differ in shape"):
        four(rl.encode(backbone, view, four.tap_indices).taps, view[:1])


def test_the_branch_goes_through_other_peoples_tools(tmp_path):
    backbone, view = backbone_of(), views()[0]
    branch, fresh = (rl.ReconstructionBranch.for_backbone(backbone, image_size=32) for _ in range(2))
    taps = rl.encode(backbone, view).taps
    branch.weigh(torch.tensor(3.0), branch(taps, view))
    branch.weighting.log_variances.data += 1
    save_model(branch, str(tmp_path / "branch.safetensors"))
    load_model(fresh, str(tmp_path / "branch.safetensors"))
    fresh.weigh(torch.tensor(9.0), fresh(taps, view))  # must not be set again from this batch
    assert torch.equal(fresh.weighting.log_variances, branch.weighting.log_variances)
    average = ModelEmaV3(branch, decay=0.5)
    average.update(branch)
    assert average.module.weighting.initialised
    assert torch.equal(copy.deepcopy(branch)(taps, view), branch(taps, view))
    torch.save(branch.state_dict(), tmp_path / "branch.pt")
    assert set(torch.load(tmp_path / "branch.pt", weights_only=True)) == set(branch.state_dict())
    torch.save(rl.encode(backbone, view), tmp_path / "features.pt")
    loaded = torch.load(tmp_path / "features.pt", weights_only=True)
    assert torch.equal(loaded.taps[0], taps[0]) and loaded.taps.indices == taps.indices


@pytest.mark.parametrize("options", [{}, {"multi_avg_fn": get_ema_multi_avg_fn(0.9)}])
def test_an_average_of_the_branch_with_its_buffers_stays_set(options):
    branch, loss = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32), torch.tensor(3.0)
    average = AveragedModel(branch, use_buffers=True, **options)
    for _ in range(3):
        branch.weigh(loss, loss)
        average.update_parameters(branch)
    held = average.module.weighting.log_variances.clone()
    average.module.weigh(loss + 9, loss + 9)
    assert torch.equal(average.module.weighting.log_variances, held)


def test_losses_as_loops_have_them():
    branch = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32)
    reconstruction = torch.tensor(0.5)
    expected = branch.weigh(torch.tensor(3.0), reconstruction)
    for loss in (3.0, 3, torch.tensor([3.0]), torch.tensor(3.0, dtype=torch.float64)):
        assert torch.equal(branch.weigh(loss, reconstruction), expected)
    for error in (0.5, torch.tensor([0.5])):
        assert torch.equal(branch.weigh(3.0, error), expected)
    for losses in ((torch.tensor([3.0, 3.0]), reconstruction), (3.0, torch.tensor([0.5, 0.5]))):
        with pytest.raises(rl.UserError, match=r"loss is of shape \(2,\), not one number"):
            branch.weigh(*losses)
    view = views()[0]
    with pytest.raises(rl.UserError, match=r"dtype torch.uint8; give floats in \[0, 1\]"):
        branch(rl.encode(backbone_of(), view).taps, (view * 255).to(torch.uint8))


def test_the_branch_around_a_wrapped_backbone():
    backbone, view = backbone_of().eval(), views()[0]
    for wrapped in (torch.compile(backbone, backend="eager"), AveragedModel(backbone)):
        branch = rl.ReconstructionBranch.for_backbone(wrapped, image_size=32)
        assert branch(rl.encode(wrapped, view).taps, view).isfinite()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_branch_has_the_number_format_of_the_backbone(dtype):
    backbone, view = backbone_of().to(dtype), views()[0].to(dtype)
    branch = rl.ReconstructionBranch.for_backbone(backbone, image_size=32)
    features = rl.encode(backbone, view - 0.5)
    loss = branch.weigh(features.pooled.square().mean(), branch(features.taps, view))
    loss.backward()
    assert loss.isfinite() and loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert branch.weighting.log_variances.dtype == loss.dtype and backbone.blocks[0].mlp.fc1.weight.grad is not None


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_taps_in_another_number_format_than_the_branch(name):
    """The encoder alone under autocast, whose maps are then in a half format (Swin); or converted after the branch was made."""
    backbone, view = backbone_of(name), views()[0]
    branch = rl.ReconstructionBranch.for_backbone(backbone, image_size=32)
    expected = branch(rl.encode(backbone, view - 0.5).taps, view)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        taps = rl.encode(backbone, view - 0.5).taps
    assert branch(taps, view).item() == pytest.approx(expected.item(), rel=0.02)
    taps = rl.encode(backbone.bfloat16(), view.bfloat16() - 0.5).taps
    error = branch(taps, view)
    error.backward()
    assert taps[0].dtype == torch.bfloat16 and error.item() == pytest.approx(expected.item(), rel=0.02)


@pytest.mark.parametrize("wrong", [lambda view: (view - 0.5) / 0.25, lambda view: view * 255])
def test_a_view_that_is_not_in_0_to_1_is_an_error(wrong):
    backbone, view = backbone_of(), views()[0]
    branch, taps = rl.ReconstructionBranch.for_backbone(backbone, image_size=32), rl.encode(backbone, view - 0.5).taps
    with pytest.raises(
        rl.UserError, match=r"the view holds pixels from .* give the view before normalisation, in \[0, 1\]"
    ):
        branch(taps, wrong(view))
    assert branch(taps, 1.2 * view - 0.1).isfinite()  # what bicubic resizing may overshoot
    each = torch.func.vmap(lambda *taps: branch([tap[None] for tap in taps], view[:1]))(*taps)
    assert each.shape == (8,)


def test_log_variances_sharded_by_fsdp_are_refused(tmp_path):
    """FSDP would gather them anew at the next step, from before the first batch set them."""
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        branch = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32)
        fully_shard(branch, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,)))
        for use in (
            branch.parameter_groups,
            lambda: branch.weigh(3.0, torch.tensor(0.5)),
            lambda: branch.weighting.weights,
        ):
            with pytest.raises(rl.UserError, match="shard the encoder alone"):
                use()
    finally:
        torch.distributed.destroy_process_group()


def test_log_variances_in_a_half_format_are_refused():
    """At s = 4.6 the numbers of bfloat16 are 0.03 apart, and Adam's steps of 0.01 are rounded away."""
    branch = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32).bfloat16()
    with pytest.raises(rl.UserError, match=r"branch\.weighting\.float\(\)"):
        branch.weigh(100.0, torch.tensor(0.5))
    assert branch.eval().weigh(100.0, torch.tensor(0.5)).isfinite()
    branch.train().weighting.float()
    assert branch.weigh(100.0, torch.tensor(0.5)).isfinite()


def test_a_branch_that_reads_the_deepest_tap_needs_no_other():
    backbone, view = backbone_of(), views()[0]
    branch = rl.ReconstructionBranch.for_backbone(backbone, image_size=32, mode="single")
    every, deepest = (
        rl.encode(backbone, view, indices).taps for indices in (branch.tap_indices, branch.tap_indices[-1:])
    )
    assert torch.equal(branch(deepest, view), branch(every, view))
    with pytest.raises(rl.UserError, match=r"given those of \(0,\)"):
        branch(rl.encode(backbone, view, (0,)).taps, view)


def test_a_compiled_step_is_one_graph_and_compiled_once():
    backbone, view, compiler = backbone_of(), views()[0], CompileCounter()
    branch = rl.ReconstructionBranch.for_backbone(backbone, image_size=32)

    def step(view):
        features = rl.encode(backbone, view, branch.tap_indices)
        return branch.weigh(features.pooled.square().mean(), branch(features.taps, view))

    compiled = torch.compile(step, backend=compiler, fullgraph=True)
    for _ in range(4):
        compiled(view).backward()
    assert compiler.frame_count == 1 and branch.weighting.initialised


def test_what_is_no_taps_is_refused():
    backbone, view = backbone_of(), views()[0]
    branch = rl.ReconstructionBranch.for_backbone(backbone, image_size=32)
    features = rl.encode(backbone, view)
    for given in (features, dict(enumerate(features.taps)), [None] * 4):
        with pytest.raises(rl.UserError, match="features.taps"):
            branch(given, view)
    assert torch.equal(branch(iter(features.taps), view), branch(features.taps, view))


def test_a_loss_below_its_floor_is_an_error():
    branch = rl.ReconstructionBranch.for_backbone(backbone_of(), image_size=32)
    with pytest.raises(rl.UserError, match="loss_floor="):
        branch.weigh(torch.tensor(-0.3), torch.tensor(0.2))
    assert branch.weigh(torch.tensor(-0.3), torch.tensor(0.2), loss_floor=-1).isfinite()
    fixed = rl.ReconstructionBranch(branch.decoder, FixedWeighting())
    assert fixed.weigh(torch.tensor(-0.3), torch.tensor(0.2)).item() == pytest.approx(-0.1)
