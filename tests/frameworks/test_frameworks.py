"""Each framework against an independent slow float64 reference: loss, gradient, queue, centre, schedules, groups."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import repre_lite as rl
from repre_lite.frameworks import FRAMEWORKS, build_framework, framework_class, table
from repre_lite.frameworks.base import cosine_to_one, target_of
from repre_lite.frameworks.queue import Queue
from repre_lite.training.loop import Training
from repre_lite.training.optim import build_optimiser, parameter_groups, set_schedule

SEVEN = [name for name in FRAMEWORKS if name != "none"]
OPTIONS = {
    "simclr": {"out": 8},
    "byol": {"hidden": 16, "out": 8},
    "simsiam": {"out": 8, "bottleneck": 4},
    "moco_v2": {"out": 8, "queue": 12},
    "moco_v3": {"hidden": 16, "out": 8},
    "moby": {"hidden": 16, "out": 8, "queue": 12},
    "dino": {"hidden": 16, "out": 8, "prototypes": 10, "momentum": 0.9},
}
BATCH = 6


def build(name, arch="vit_micro", seed=0, **options):
    torch.manual_seed(seed)
    small = {"embed_dim": 32, "depth": 4, "num_heads": 2} if arch == "vit_micro" else {"embed_dim": 24}
    dynamic = {"dynamic_img_size": True} if arch == "vit_micro" else {"strict_img_size": False}
    encoder = rl.build_encoder(arch, 32, **small, **(dynamic if name == "dino" else {}))
    framework = build_framework(name, encoder, **OPTIONS[name] | options).double().train()
    for module in framework.modules():  # targets that differ from the online network, or half the loss goes untested
        if module in [getattr(framework, f"target_{part}", None) for part in ("encoder", "projector", "head")]:
            for parameter in module.parameters():
                parameter.data += 0.05 * torch.randn_like(parameter)
    return framework


def some_views(name):
    generator = torch.Generator().manual_seed(3)
    sizes = [32, 32, 16, 16] if name == "dino" else [32, 32]
    return [torch.rand(BATCH, 3, s, s, dtype=torch.float64, generator=generator) for s in sizes]


def unit(x):
    return [[float(v) / math.sqrt(sum(float(u) ** 2 for u in row)) for v in row] for row in x]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def log_sum_exp(values):
    return math.log(sum(math.exp(v) for v in values))


def heads(framework, views):
    """What the heads give, computed with copies so that running statistics stay; z, p, t for both views."""
    f = copy.deepcopy(framework)
    out = {}
    with torch.no_grad():
        pooled = [f.online(v, taps=False).pooled for v in views]
        if hasattr(f, "projector"):
            out["z"] = [f.projector(x) for x in pooled]
        if isinstance(f, framework_class("simclr")):  # the published head normalises over both views
            out["z"] = list(f.projector(torch.cat(pooled)).chunk(2))
        if hasattr(f, "predictor"):
            out["p"] = [f.predictor(z) for z in out["z"]]
        if hasattr(f, "target_projector"):
            out["t"] = [f.target_projector(f.target_encoder(v, taps=False).pooled) for v in views]
        if hasattr(f, "head"):
            # the published head sees all crops at once
            out["s"] = list(f.head(torch.cat(pooled)).chunk(len(views)))
            teacher = torch.cat([f.target_encoder(v, taps=False).pooled for v in views[:2]])
            out["t"] = list(f.target_head(teacher).chunk(2))
    return out


def reference(name, framework, views):
    """The published loss in Python loops over numbers."""
    h, rows = heads(framework, views), range(BATCH)
    if name == "simclr":
        z, total = unit(h["z"][0]) + unit(h["z"][1]), 0.0
        for i in range(2 * BATCH):
            similar = {j: dot(z[i], z[j]) / 0.1 for j in range(2 * BATCH) if j != i}
            total += log_sum_exp(similar.values()) - similar[(i + BATCH) % (2 * BATCH)]
        return total / (2 * BATCH)
    if name == "dino":
        total, pairs, warm = 0.0, 0, float(framework.teacher_temperature)
        for i, teacher in enumerate(h["t"]):
            for j, student in enumerate(h["s"]):
                if i == j:
                    continue
                pairs += 1
                for b in rows:
                    t = [float(v - c) / warm for v, c in zip(teacher[b], framework.centre[0], strict=True)]
                    s = [float(v) / 0.1 for v in student[b]]
                    top, bottom = log_sum_exp(t), log_sum_exp(s)
                    total -= sum(math.exp(a - top) * (c - bottom) for a, c in zip(t, s, strict=True)) / BATCH
        return total / pairs
    if name in ("byol", "simsiam"):
        total = 0.0
        for p, t in ((h["p"][0], h.get("t", h["z"])[1]), (h["p"][1], h.get("t", h["z"])[0])):
            p, t = unit(p), unit(t)
            if name == "byol":
                total += sum((a - b) ** 2 for i in rows for a, b in zip(p[i], t[i], strict=True)) / BATCH
            else:
                total -= sum(dot(p[i], t[i]) for i in rows) / BATCH / 2
        return total
    if name == "moco_v3":
        total = 0.0
        for q, k in ((h["p"][0], h["t"][1]), (h["p"][1], h["t"][0])):
            q, k = unit(q), unit(k)
            for i in rows:
                logits = [dot(q[i], k[j]) / 0.2 for j in rows]
                total += 2 * 0.2 * (log_sum_exp(logits) - logits[i]) / BATCH
        return total
    if name == "moco_v2":
        pairs = [(h["z"][0], h["t"][1], framework.queue.keys)]
    else:
        pairs = [
            (h["p"][0], h["t"][1], framework.queue2.keys),
            (h["p"][1], h["t"][0], framework.queue1.keys),
        ]
    total = 0.0
    for q, k, queue in pairs:
        q, k, negatives = unit(q), unit(k), queue.tolist()
        for i in rows:
            logits = [dot(q[i], k[i]) / 0.2] + [dot(q[i], n) / 0.2 for n in negatives]
            total += (log_sum_exp(logits) - logits[0]) / BATCH
    return total


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro"])
@pytest.mark.parametrize("name", SEVEN)
def test_loss_is_the_published_one(name, arch):
    framework, views = build(name, arch), some_views(name)
    if name == "dino":
        framework.centre += 0.05 * torch.randn_like(framework.centre)
    assert framework(views).loss.item() == pytest.approx(reference(name, framework, views), abs=1e-9)


def test_batch_norm_in_dinos_head_sees_all_crops():
    """As in the published code, whose head is applied to the concatenated features of the student, and of the teacher."""
    framework, views = build("dino", batch_norm=True), some_views("dino")
    loss = framework(views).loss.item()
    assert loss == pytest.approx(reference("dino", framework, views), abs=1e-9)
    with torch.no_grad():
        pooled = [framework.online(view, taps=False).pooled for view in views]
        together, apart = framework.head(torch.cat(pooled)), torch.cat([framework.head(x) for x in pooled])
    assert (together - apart).abs().max() > 1e-3


@pytest.mark.parametrize("name", SEVEN)
def test_gradient_is_the_slope_of_the_reference(name):
    framework, views = build(name), some_views(name)
    state = copy.deepcopy(framework.state_dict())
    framework(views).loss.backward()
    module = framework.head if name == "dino" else getattr(framework, "predictor", framework.projector)
    for parameter in (framework.online.backbone.blocks[1].mlp.fc1.weight, next(module.parameters())):
        direction = torch.randn_like(parameter)
        slope = float((parameter.grad * direction).sum())
        losses = []
        for sign in (1, -1):
            framework.load_state_dict(state)
            parameter.data += sign * 1e-5 * direction
            if name == "simsiam":  # its reference has no stopped gradient: hold z where it was
                losses.append(_simsiam_with_fixed_z(framework, views, state))
            else:
                losses.append(reference(name, framework, views))
        framework.load_state_dict(state)
        assert slope == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-3, abs=1e-7)


def _simsiam_with_fixed_z(framework, views, state):
    p = heads(framework, views)["p"]
    held = copy.deepcopy(framework)
    held.load_state_dict(state)
    z = heads(held, views)["z"]
    p, z = [unit(x) for x in p], [unit(x) for x in z]
    return -sum(dot(p[0][i], z[1][i]) + dot(p[1][i], z[0][i]) for i in range(BATCH)) / BATCH / 2


@pytest.mark.parametrize("name", SEVEN)
def test_no_gradient_reaches_the_target_and_all_reaches_the_online_network(name):
    framework = build(name)
    framework(some_views(name)).loss.backward()
    for key, parameter in framework.named_parameters():
        if key.startswith("target_"):
            assert parameter.grad is None and not parameter.requires_grad, key
        elif parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", ["moco_v2", "moco_v2 rising", "moco_v3", "moby", "byol", "dino"])
def test_target_follows_by_the_published_schedule(name):
    """First, middle and last step of ten: coefficient * target + (1 - coefficient) * online, buffers left alone."""
    name, _, rising = name.partition(" ")
    framework = build(name, momentum=0.9, **({"momentum_rises": True} if rising else {}))
    framework(some_views(name))  # running statistics move away from the online ones
    head = "head" if name == "dino" else "projector"
    pairs = [("target_encoder", "online"), (f"target_{head}", head)]
    late = name in ("byol", "dino")  # these average after the step with its own number
    for step in (0, 4, 9):
        expected = 1 - 0.1 * (math.cos(math.pi * (step + (not late)) / 10) + 1) / 2
        if name == "moco_v2" and not rising:
            expected = 0.9
        before = copy.deepcopy(framework)
        framework.update_target(step, 10)
        for target, online in pairs:
            old, new, source = (
                getattr(f, part) for f, part in ((before, target), (framework, target), (before, online))
            )
            for a, b, c in zip(old.parameters(), new.parameters(), source.parameters(), strict=True):
                assert torch.allclose(b, expected * a + (1 - expected) * c, atol=1e-12)
            assert all(torch.equal(a, b) for a, b in zip(old.buffers(), new.buffers(), strict=True))
    assert cosine_to_one(0.99, 0) == pytest.approx(0.99) and cosine_to_one(0.99, 1) == 1


def test_queue_keeps_order_through_the_wrap_at_any_batch_size():
    queue = Queue(7, 1)
    pushed = torch.arange(40.0)[:, None]
    start = 0
    for size in (3, 3, 3, 5, 7, 9, 1):
        queue.push(pushed[start : start + size])
        start += size
        newest = torch.roll(queue.keys[:, 0], -int(queue.next))  # oldest first
        kept = pushed[max(0, start - 7) : start, 0]
        assert torch.equal(newest[-len(kept) :], kept)
    assert int(queue.next) == start % 7


@pytest.mark.parametrize("name", ["moco_v2", "moby"])
def test_keys_enter_the_queue_after_the_step_and_not_before(name):
    framework, views = build(name), some_views(name)
    queues = {1: framework.queue} if name == "moco_v2" else {0: framework.queue1, 1: framework.queue2}  # by view
    before = copy.deepcopy(queues)
    framework(views)
    given = heads(framework, views)["t"]
    assert all(torch.equal(queue.keys, before[view].keys) for view, queue in queues.items())
    framework.update_target(0, 10)
    for view, queue in queues.items():
        assert torch.allclose(queue.keys[:BATCH], torch.nn.functional.normalize(given[view], dim=1))
        assert torch.equal(queue.keys[BATCH:], before[view].keys[BATCH:])
        assert queue.keys.norm(dim=1).allclose(torch.ones(12, dtype=torch.float64))


def test_symmetric_moco_v2_is_the_mean_of_both_directions():
    views = some_views("moco_v2")
    one_way = [build("moco_v2")(v).loss for v in (views, views[::-1])]
    assert torch.allclose(build("moco_v2", symmetric=True)(views).loss, torch.stack(one_way).mean())


def test_dino_centre_and_temperature_after_n_steps():
    framework, views = (
        build("dino", teacher_start=0.04, teacher_temperature=0.07, temperature_warmup=4),
        some_views("dino"),
    )
    centre = torch.zeros(1, 10, dtype=torch.float64)
    for step in range(3):
        teacher = torch.cat(heads(framework, views)["t"])
        framework(views)
        assert torch.allclose(framework.centre, centre)
        framework.update_target(step, 10)
        centre = 0.9 * centre + 0.1 * teacher.mean(0, keepdim=True)
        assert torch.allclose(framework.centre, centre)
    temperatures = []
    for epoch in range(6):
        framework.set_epoch(epoch)
        temperatures.append(float(framework.teacher_temperature))
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


def test_dino_last_layer_rests_in_the_first_epoch_only():
    framework = build("dino", unit_prototypes=False)
    for epoch, rests in ((0, True), (1, False)):
        framework.set_epoch(epoch)
        framework(some_views("dino")).loss.backward()
        framework.drop_gradients()
        assert all((p.grad is None) == rests for p in framework.head.prototype_parameters())
        assert framework.head.mlp[0].weight.grad is not None
    rows = framework.head.directions / framework.head.directions.norm(dim=1, keepdim=True)
    x = torch.randn(2, 32, dtype=torch.float64)
    inner = framework.head.mlp(x)
    expected = inner / inner.norm(dim=1, keepdim=True) @ (3 * rows).T
    framework.head.gains.data.fill_(3)
    assert torch.allclose(framework.head(x), expected)


def test_dino_gauges_split_the_loss():
    monitors = build("dino")(some_views("dino"))
    entropy, divergence = monitors.monitors["teacher_entropy"], monitors.monitors["teacher_student_kl"]
    assert torch.allclose(entropy + divergence, monitors.loss) and 0 < entropy < math.log(10)


def test_dino_says_what_a_strict_encoder_lacks():
    framework = build_framework("dino", rl.build_encoder("vit_micro", 32), **OPTIONS["dino"])
    with pytest.raises(rl.UserError, match="dynamic_img_size"):
        framework([v.float() for v in some_views("dino")])


def test_drop_path_stays_with_the_online_network():
    encoder = rl.build_encoder("vit_micro", 32, drop_path=0.5).train()
    target, x = target_of(encoder).train(), torch.randn(4, 3, 32, 32)
    assert torch.equal(target(x).pooled, target(x).pooled)
    assert not torch.equal(encoder(x).pooled, encoder(x).pooled)


@pytest.mark.parametrize("name", SEVEN)
def test_at_collapse(name):
    """Equal outputs for everything give ln of the number of choices, or the lowest distance."""
    framework, views = build(name), some_views(name)
    if name == "dino":
        for parameter in framework.head.mlp[4].parameters():
            parameter.data.zero_()
        framework.head.mlp[4].bias.data.fill_(1.0)
        framework.head.directions.data[:] = framework.head.directions.data[0]
        framework.target_head.load_state_dict(framework.head.state_dict())
        loss = framework(views)
        assert loss.loss.item() == pytest.approx(math.log(10)) and loss.monitors[
            "loss_over_chance"
        ].item() == pytest.approx(1)
        assert loss.monitors["teacher_student_kl"].item() == pytest.approx(0, abs=1e-9)
        return
    same = nn.Identity()
    constant = _Constant(8)
    framework.projector = constant
    if hasattr(framework, "predictor"):
        framework.predictor = same
    if hasattr(framework, "target_projector"):
        framework.target_projector = constant
    for queue in ("queue", "queue1", "queue2"):
        if hasattr(framework, queue):
            getattr(framework, queue).keys[:] = constant.row / constant.row.norm()
    expected = {
        "simclr": math.log(2 * BATCH - 1), "byol": 0.0, "simsiam": -1.0, "moco_v2": math.log(13),
        "moco_v3": 4 * 0.2 * math.log(BATCH), "moby": 2 * math.log(13),
    }[name]  # fmt: skip
    contrast = framework(views)
    assert contrast.loss.item() == pytest.approx(expected, abs=1e-9)
    if "loss_over_chance" in contrast.monitors:
        assert contrast.monitors["loss_over_chance"].item() == pytest.approx(1)


class _Constant(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.row = nn.Parameter(torch.linspace(1, 2, width, dtype=torch.float64))

    def forward(self, x):
        return self.row.expand(len(x), -1)


@pytest.mark.parametrize("name", SEVEN)
def test_which_parameters_decay_and_which_keep_their_rate(name):
    recipe = rl.recipe("scenes", name)
    model = rl.RePre.from_recipe(recipe)
    groups = parameter_groups(model, recipe)
    names = {id(p): key for key, p in model.named_parameters()}
    seen = [names[id(p)] for group in groups for p in group["params"]]
    assert sorted(seen) == sorted(key for key, p in model.named_parameters() if p.requires_grad)
    for group in groups:
        for parameter in group["params"]:
            key = names[id(parameter)]
            vector = parameter.ndim < 2
            decays = not key.startswith("weighting") and (
                not vector or (name == "moco_v3" and key.startswith("framework"))
            )
            assert group["decays"] == decays, key
            constant = key.startswith("weighting") or (name == "simsiam" and "predictor" in key)
            assert group["scheduled"] != constant, key


def test_simsiams_predictor_keeps_the_highest_rate():
    recipe = rl.recipe("scenes", "simsiam")
    model = rl.RePre.from_recipe(recipe)
    optimiser = build_optimiser(model, recipe)
    for rate in (1e-5, 0.0):
        set_schedule(optimiser, rate, recipe.weight_decay)
        rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
        assert {rates[id(p)] for p in model.framework.predictor.parameters()} == {recipe.peak_lr}
        assert {rates[id(p)] for p in model.framework.projector.parameters() if p.requires_grad} == {rate}
        assert rates[id(model.weighting.log_variances)] == recipe.weighting_lr


@pytest.mark.parametrize("name", SEVEN)
def test_the_table_of_differences_tells_the_truth(name):
    framework, row = build(name), framework_class(name).row
    queues = sum(isinstance(module, Queue) for module in framework.modules())
    assert row.queue == (str(queues) if queues else "none")
    assert (row.predictor != "none") == hasattr(framework, "predictor")
    assert row.target.startswith("moving average") == hasattr(framework, "target_encoder")
    assert row.loss.startswith("-1") == (framework.loss_floor == -1)
    views = framework_class(name).views(224, 16)
    assert row.views.startswith("2") and (len(views) > 2) == ("local" in row.views)
    assert (views[0] != views[1]) == ("asymmetric" in row.views or name == "dino")
    assert f"| `{name}` |" in table()


@pytest.mark.parametrize("name", SEVEN)
def test_without_the_branch_a_step_is_the_bare_framework(name):
    """`--reconstruction none` and a hand-written loop over the framework end in the same bits."""
    recipe = rl.recipe("scenes", name, reconstruction="none", steps=2, batch_size=8, train_images=32, drop_path=0.0)
    ours, bare = Training(recipe), Training(recipe)
    for step in range(2):
        ours.advance()
        indices, rows = bare.batches.rows(step)
        views = [bare.model.normalise(v) for v in bare.views(bare.images[indices], step, rows)]
        framework = bare.model.framework
        rate, decay = _rate(recipe, step)
        for group in bare.optimiser.param_groups:
            group["lr"] = rate if group["scheduled"] else group["lr"]
            group["weight_decay"] = decay if group["decays"] else 0.0
        framework.set_epoch(0)
        loss = framework(views).loss
        bare.optimiser.zero_grad()
        loss.backward()
        framework.drop_gradients()
        if recipe.clip_norm and recipe.clip_each:
            for parameter in framework.parameters():
                nn.utils.clip_grad_norm_(parameter, recipe.clip_norm)
        elif recipe.clip_norm:
            nn.utils.clip_grad_norm_(framework.parameters(), recipe.clip_norm)
        bare.optimiser.step()
        framework.update_target(step, 2)
    for a, b in zip(ours.model.state_dict().values(), bare.model.state_dict().values(), strict=True):
        assert not isinstance(a, torch.Tensor) or torch.equal(a, b)


def _rate(recipe, step):
    from repre_lite.training.optim import decay_at, rate_at

    return rate_at(recipe, step, 2, round(2 * recipe.warmup_epochs / recipe.epochs)), decay_at(recipe, step, 2)


@pytest.mark.parametrize("name", SEVEN)
def test_state_restores_queues_centre_and_schedule(name):
    recipe = rl.recipe("scenes", name, steps=6, batch_size=8, train_images=32)
    whole = Training(recipe)
    for _ in range(3):
        whole.advance()
    resumed = Training(recipe)
    resumed.load(copy.deepcopy(whole.state()))
    for _ in range(3):
        whole.advance()
        resumed.advance()
    held, again = whole.model.state_dict(), resumed.model.state_dict()
    for key, value in held.items():
        assert not isinstance(value, torch.Tensor) or torch.equal(value, again[key]), key


def test_the_readme_prints_the_same_table():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert readme.split("table() -->\n")[1].split("\n<!-- /frameworks")[0] == table()
