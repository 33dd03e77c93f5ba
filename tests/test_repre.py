"""RePre: which branch touches what, and the branch in somebody else's loop."""

import copy
from unittest import mock

import pytest
import timm
import torch

import repre_lite as rl
from repre_lite.losses import negative_cosine
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


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_the_branch_in_somebody_elses_loop(name):
    torch.manual_seed(0)
    small = (
        {"embed_dim": 48, "depth": 4}
        if name.startswith("vit")
        else {"embed_dim": 24, "depths": (1, 1, 1), "num_heads": (3, 6, 12), "window_size": 4}
    )
    backbone = timm.create_model(
        name, num_classes=0, img_size=32, patch_size=4 if name.startswith("vit") else 2, **small
    )
    target = copy.deepcopy(backbone).requires_grad_(False)
    branch = rl.ReconstructionBranch.for_backbone(
        backbone, image_size=32, **({"taps": 2} if name.startswith("vit") else {})
    )
    optimiser = torch.optim.AdamW([*backbone.parameters(), *branch.parameters()], lr=1e-3)
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
