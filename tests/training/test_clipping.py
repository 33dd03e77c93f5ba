"""Clipping with and without the branch: as if the contrastive loss had weight one, against a float64 reference by hand."""

import math

import pytest
import torch
from small import SMALL, TINY

import repre_lite as rl
from repre_lite.data.sources import IMAGENET, ImageSet, Source
from repre_lite.training.loop import Training
from repre_lite.training.optim import clip, decay_at, rate_at

IMAGES = rl.scenes(range(16), size=32).images
CLIPPED = ["moby", "dino"]  # the two that clip: all parameters together, each by itself


def training(name, **overrides):
    encoder, method = TINY, SMALL[name]
    if name == "dino":  # batch norm over 8 embeddings that are nearly equal would amplify what float64 rounds
        encoder, method = encoder | {"dynamic_img_size": True}, method | {"batch_norm": False}
    values = {"arch": "vit_micro", "steps": 10, "batch_size": 8, "warmup_epochs": 0.0, "drop_path": 0.0}
    values |= {"precision": "fp64", "device": "cpu", "encoder": encoder, "method": method, "decoder_width": 8}
    recipe = rl.recipe("scenes", name, **(values | overrides))
    return Training(recipe, Source("scenes", ImageSet(IMAGES, None, ()), None, *IMAGENET, 0, ""))


def gradients(loss, model):
    """The gradient of a loss to every parameter, 0 if it does not depend on it."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, named.values(), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


def norm(made):
    """The norm of the gradients of all the framework's parameters."""
    return float(
        torch.nn.utils.get_total_norm([p.grad for p in made.model.framework.parameters() if p.grad is not None])
    )


class ByHand:
    """Training steps written out: both gradients, their weights, clipping, AdamW."""

    def __init__(self, made):
        self.made, self.moments, self.kept = made, {}, []

    def weights(self, losses):
        """Of the contrastive and the reconstruction loss, and the slopes of both log-variances."""
        recipe = self.made.recipe
        if recipe.reconstruction == "none":
            return 1.0, 0.0, None
        if recipe.weighting.startswith("fixed:"):
            return *(float(text) for text in recipe.weighting.removeprefix("fixed:").split(",")), None
        s = self.made.model.weighting.log_variances.detach()
        raw = torch.stack([losses.contrastive, losses.reconstruction]).detach()
        return *(torch.exp(-s) / 2).tolist(), (1 - torch.exp(-s) * raw) / 2

    def step(self):
        made, recipe, model, step = self.made, self.made.recipe, self.made.model, self.made.step
        model.framework.set_epoch(0)
        losses = model(made.make_views())
        contrast = gradients(losses.contrastive, model)
        redraw = gradients(losses.total * 0 if losses.reconstruction is None else losses.reconstruction, model)
        one, two, slopes = self.weights(losses)

        update = {name: two * g for name, g in redraw.items()}
        inside = [name for name in update if name.startswith("framework.")]
        at_weight_one = {name: contrast[name] + two / one * redraw[name] for name in inside}
        together = math.sqrt(sum(float(g.square().sum()) for g in at_weight_one.values()))
        for name, g in at_weight_one.items():
            norm = float(g.norm()) if recipe.clip_each else together
            update[name] = one * g * min(1.0, recipe.clip_norm / (norm + 1e-6))
        left = math.sqrt(sum(float((update[name] / one).square().sum()) for name in inside))
        self.kept.append(left / together)
        if slopes is not None:
            update["weighting.log_variances"] = slopes

        rate = rate_at(recipe, step, made.total_steps, made.warmup_steps)
        decay = decay_at(recipe, step, made.total_steps)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in update:
                    own = name.startswith("weighting.")
                    self.adamw(
                        name, p, update[name], recipe.weighting_lr if own else rate, decay * (p.ndim > 1), step + 1
                    )
        model.framework.update_target(step, made.total_steps)
        made.step += 1

    def adamw(self, name, p, g, rate, decay, t):
        m, v = self.moments.get(name, (0, 0))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        self.moments[name] = m, v
        p *= 1 - rate * decay
        p -= rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


@pytest.mark.parametrize("branch", ["uncertainty", "fixed:0.03,5", None])
@pytest.mark.parametrize("name", CLIPPED)
def test_steps_equal_steps_by_hand(name, branch):
    changes = {"reconstruction": "none"} if branch is None else {"weighting": branch}
    changes |= {"clip_norm": 0.5 if name == "moby" else 0.05}
    ours, reference = training(name, **changes), ByHand(training(name, **changes))
    for _ in range(5):
        losses, _ = ours.advance()
        reference.step()
        assert float(losses.monitors["gradient_scale"]) == pytest.approx(reference.kept[-1], rel=1e-5)
        held = dict(reference.made.model.named_parameters())
        for key, p in ours.model.named_parameters():
            assert torch.allclose(p, held[key], rtol=1e-7, atol=1e-9), key
    assert max(reference.kept) < 0.9  # clipping did something at every step


@pytest.mark.parametrize("weighting", ["uncertainty", "fixed:0.01,1", "fixed:20,1"])
@pytest.mark.parametrize("name", CLIPPED)
def test_the_same_contrastive_gradient_is_clipped_alike_with_and_without_the_branch(name, weighting):
    """The decoder reads taps without gradient here, so that both arms have the same contrastive gradient."""
    bare, with_branch = training(name, reconstruction="none"), training(name, weighting=weighting)
    with_branch.model.detached = True
    views = bare.make_views()
    bare.model(views).total.backward()
    with_branch.model(views).total.backward()
    weight = float(with_branch.model.weights[0])
    recipe = rl.recipe("scenes", name, clip_norm=(0.5 if name == "moby" else 0.1) * norm(bare))
    said, said_with = (clip(made.model, recipe) for made in (bare, with_branch))
    assert 0.1 < float(said["gradient_scale"]) < 0.9 and abs(weight - 1) > 0.3
    for key in said:
        assert float(said_with[key]) == pytest.approx(float(said[key]), rel=1e-9), key
    for p, q in zip(bare.model.framework.parameters(), with_branch.model.framework.parameters(), strict=True):
        assert p.grad is None or torch.allclose(q.grad, weight * p.grad, rtol=1e-6, atol=1e-7 * weight)


@pytest.mark.parametrize("each", [False, True])
def test_decoder_and_log_variances_are_neither_clipped_nor_counted(each):
    made = training("moby", clip_norm=1e-3, clip_each=each)
    made.model(made.make_views())
    made.model.weighting.log_variances.data += 0.5  # where they start, their gradient is 0
    made.model(made.make_views()).total.backward()
    outside = {n: p for n, p in made.model.named_parameters() if not n.startswith("framework.") and p.grad is not None}
    assert "weighting.log_variances" in outside and len(outside) > 2
    before = {name: p.grad.clone() for name, p in outside.items()}
    for p in outside.values():
        p.grad *= 1e6
    huge = clip(made.model, made.recipe)
    assert float(huge["gradient_norm"]) < 1e5
    assert all(torch.equal(p.grad, 1e6 * before[name]) and p.grad.abs().sum() > 0 for name, p in outside.items())


@pytest.mark.parametrize(
    "changes",
    [{"framework": "none"}, {"reconstruction": "detached"}, {"weighting": "fixed:0,1"}],
    ids=["none", "detached", "weight 0"],
)
def test_without_a_weight_of_the_contrast_the_threshold_is_as_given(changes):
    made = training(changes.pop("framework", "moby"), clip_norm=1e-3, clip_each=False, **changes)
    made.model(made.make_views()).total.backward()
    before = norm(made)
    said = clip(made.model, made.recipe)
    assert float(said["gradient_norm"]) == before and float(said["gradient_scale"]) == pytest.approx(1e-3 / before)
    assert norm(made) == pytest.approx(1e-3, rel=2e-3)
