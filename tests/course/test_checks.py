"""The exercises' checkers: the right function passes, typical wrong ones do not, and hear why."""

import pytest
import torch
from torch.nn import functional as F

from repre_lite.course import checks


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# -- compare


def test_compare_says_what_differs(capsys):
    x = torch.ones(2, 3)
    assert checks.compare("same", x, x.double() + 1e-7) is None  # the last line of a cell shows nothing more
    checks.compare("shape", x, x.T)
    checks.compare("value", x, x + 0.5)
    checks.compare("nan", x * float("nan"), x)
    checks.compare("wide", x, x + 0.5, tolerance=0.6)
    assert capsys.readouterr().out.splitlines() == [
        "same: shapes ok, max diff < 1e-05",
        "shape: shape (2, 3), expected (3, 2)",
        "value: shapes ok, max diff 0.5, expected below 1e-05",
        "nan: shapes ok, max diff nan, expected below 1e-05",
        "wide: shapes ok, max diff < 0.6",
    ]


# -- tap indices: (function, what the reader is told)

TAPS_RIGHT = [
    lambda depth, taps: [i * (depth // taps) - 1 for i in range(1, taps + 1)],
    lambda depth, taps: range(depth // taps - 1, depth, depth // taps),
    lambda depth, taps: tuple(depth * (i + 1) // taps - 1 for i in range(taps)),
]
TAPS_WRONG = [
    (lambda depth, taps: [i * (depth // taps) for i in range(1, taps + 1)], "count blocks from 0"),
    (lambda depth, taps: list(range(depth - taps, depth)), "every L/K-th block"),  # the last ones, timm's indices=4
    (lambda depth, taps: [i * (depth // taps) for i in range(taps)], "every L/K-th block"),
    (lambda depth, taps: [2, 5, 8, 11], "4 taps of 8 blocks"),  # right for ViT-S only
    (lambda depth, taps: [], "every L/K-th block"),
]

# -- fusion block


def fusion(deep, shallow, weight, bias):
    return torch.conv2d(torch.cat([deep, shallow], 1), weight, bias, padding=1).relu()


FUSION_RIGHT = [
    fusion,
    lambda d, s, w, b: torch.conv2d(d, w[:, :3], b, padding=1).add(torch.conv2d(s, w[:, 3:], padding=1)).clamp(min=0),
]
FUSION_WRONG = [
    (lambda d, s, w, b: fusion(s, d, w, b), "the deep map comes first"),
    (lambda d, s, w, b: torch.conv2d(torch.cat([d, s], 1), w, b, padding=1), "is the ReLU missing"),
    (lambda d, s, w, b: torch.conv2d(torch.cat([d, s], 1), w, b).relu(), "expected shape"),  # no padding
    (lambda d, s, w, b: fusion(d, s, w, None), "not the same"),
    (lambda d, s, w, b: fusion(d, s, w.transpose(2, 3), b), "not the same"),
    (lambda d, s, w, b: fusion(d, d, w, b), "not the same"),
    (lambda d, s, w, b: d + s, None),
]

# -- uncertainty total

TOTAL_RIGHT = [
    lambda losses, s: ((-s).exp() * losses + s).sum() / 2,
    lambda losses, s: sum(torch.exp(-a) * loss + a for loss, a in zip(losses, s, strict=True)) / 2,
    lambda losses, s: (losses / s.exp()).mean() + s.mean(),
]
TOTAL_WRONG = [
    (lambda losses, s: ((-s).exp() * losses).sum() / 2, r"the \+ s is missing"),
    (lambda losses, s: ((-s).exp() * losses + s).sum(), "expected"),  # no half
    (lambda losses, s: (s.exp() * losses + s).sum() / 2, "expected"),
    (lambda losses, s: ((-s).exp() * losses - s).sum() / 2, "expected"),
    (lambda losses, s: ((-s).exp() * losses).sum() / 2 + s.sum(), "expected"),
    (lambda losses, s: ((-2 * s).exp() * losses + 2 * s).sum() / 2, "expected"),  # s as log sigma
    (lambda losses, s: losses.sum() / 2, "expected"),
    (lambda losses, s: (((-s).exp() * losses + s).sum() / 2).detach(), "gradient"),
    (lambda losses, s: ((-s).exp().detach() * losses + s).sum() / 2, "does not reach s"),
    (lambda losses, s: ((-s).exp() * losses.detach() + s).sum() / 2, "does not reach losses"),
]

# -- moving average

FOLLOW_RIGHT = [
    lambda target, online, coefficient: coefficient * target + (1 - coefficient) * online,
    lambda target, online, coefficient: online.lerp(target, coefficient),
]
FOLLOW_WRONG = [
    (lambda target, online, c: c * online + (1 - c) * target, "move slowly"),
    (lambda target, online, c: online, "expected"),
    (lambda target, online, c: target, "expected"),
    (lambda target, online, c: (target + online) / 2, "expected"),
]

# -- InfoNCE


def nce(q, k, temperature):
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    return F.cross_entropy(q @ k.T / temperature, torch.arange(len(q)))


NCE_RIGHT = [nce, lambda q, k, t: -(F.cosine_similarity(q[:, None], k[None], dim=2) / t).log_softmax(1).diag().mean()]
NCE_WRONG = [
    (lambda q, k, t: F.cross_entropy(q @ k.T / t, torch.arange(len(q))), "length 1"),
    (lambda q, k, t: nce(q, k, 1), "temperature"),
    (lambda q, k, t: nce(q, k, 1 / t), "expected"),
    (lambda q, k, t: nce(k, q, t), "expected"),  # the other way round
    (lambda q, k, t: 2 * t * nce(q, k, t), "expected"),  # MoCo v3's factor
    (lambda q, k, t: nce(q, k, t) * len(q), "expected"),
    (lambda q, k, t: -(F.cosine_similarity(q, k) / t).mean(), "expected"),  # no negatives
]

# -- the queue


def push(queue, place, keys):
    for key in keys:
        queue[place] = key
        place = (place + 1) % len(queue)
    return place


def push_by_index(queue, place, keys):
    queue[(place + torch.arange(len(keys))) % len(queue)] = keys
    return (place + len(keys)) % len(queue)


def push_without_wrap(queue, place, keys):
    room = keys[: len(queue) - place]
    queue[place : place + len(room)] = room  # the rest is lost
    return (place + len(keys)) % len(queue)


PUSH_RIGHT = [push, push_by_index]
PUSH_WRONG = [
    (push_without_wrap, "after 6 keys"),
    (lambda queue, place, keys: (push(queue, place, keys), place)[1], "after 3 keys"),  # does not move on
    (lambda queue, place, keys: push(queue, 0, keys), "after 6 keys"),
    (lambda queue, place, keys: push_by_index(queue, place, keys) and place + len(keys), "begins again at 0"),
    (lambda queue, place, keys: push(queue, place, keys.flip(0)), "after 3 keys"),
    (lambda queue, place, keys: push(queue.clone(), place, keys), "after 3 keys"),  # writes into a copy
]

# -- one training step


def step_in_order(model, optimiser, views, step, total_steps):
    losses = model(views)
    optimiser.zero_grad()
    losses.total.backward()
    optimiser.step()
    model.framework.update_target(step, total_steps)


def step_zeroing_first(model, optimiser, views, step, total_steps):
    optimiser.zero_grad(set_to_none=True)
    model(views).total.backward()
    optimiser.step()
    model.framework.update_target(step=step, total_steps=total_steps)


def step_made_of(*calls):
    """A step that makes these calls in this order after its forward."""

    def train_step(model, optimiser, views, step, total_steps):
        total = model(views).total
        known = {
            "zero": optimiser.zero_grad,
            "back": total.backward,
            "step": optimiser.step,
            "target": lambda: model.framework.update_target(step, total_steps),
            "next": lambda: model.framework.update_target(step + 1, total_steps),
        }
        for call in calls:
            known[call]()

    return train_step


def step_zeroing_last(model, optimiser, views, step, total_steps):
    model(views).total.backward()
    optimiser.step()
    model.framework.update_target(step, total_steps)
    optimiser.zero_grad()


def step_unpacking_views(model, optimiser, views, step, total_steps):
    optimiser.zero_grad()
    model(*views).total.backward()
    optimiser.step()
    model.framework.update_target(step, total_steps)


def step_of_one_view(model, optimiser, views, step, total_steps):
    step_in_order(model, optimiser, views[0], step, total_steps)


STEP_RIGHT = [
    step_in_order,
    step_zeroing_first,
    step_zeroing_last,
    step_made_of("zero", "back", "step", "zero", "target"),
]
STEP_WRONG = [
    (step_made_of("back", "step", "target"), "gradients of the last step"),
    (step_made_of("back", "zero", "step", "target"), "throws away"),
    (step_made_of("zero", "back", "zero", "step", "target"), "throws away"),
    (step_made_of("zero", "back", "target", "step"), "expected"),
    (step_made_of("zero", "back", "step"), "expected"),
    (step_made_of("zero", "step", "target"), "backward"),
    (step_made_of("zero", "back", "step", "next"), "target of step 4 in 10"),
    (step_unpacking_views, "list of views"),
    (step_of_one_view, "list of views"),
    (lambda model, *_: model([torch.ones(1)]) and None, "expected"),
]


def rollout(attention, halves=True, identity=True, reverse=False):
    """Rollout, with one thing or another left out."""
    blocks = [(block + identity * torch.eye(4)) / (2 if halves else 1) for block in attention]
    product = torch.eye(4)
    for block in blocks:
        product = product @ block if reverse else block @ product
    return product


ROLLOUT_RIGHT = [rollout]
ROLLOUT_WRONG = [
    (lambda a: rollout(a, halves=False, identity=False), "add the identity"),
    (lambda a: rollout(a, halves=False), "halve them"),
    (lambda a: rollout(a, reverse=True), "stands on the left"),
    (lambda a: rollout(a, identity=0.5), "expected the product"),
    (lambda a: None, "expected a tensor"),
]

CHECKERS = {
    "tap_indices": (checks.check_tap_indices, TAPS_RIGHT, TAPS_WRONG),
    "fusion_block": (checks.check_fusion_block, FUSION_RIGHT, FUSION_WRONG),
    "uncertainty_total": (checks.check_uncertainty_total, TOTAL_RIGHT, TOTAL_WRONG),
    "follow": (checks.check_follow, FOLLOW_RIGHT, FOLLOW_WRONG),
    "info_nce": (checks.check_info_nce, NCE_RIGHT, NCE_WRONG),
    "push": (checks.check_push, PUSH_RIGHT, PUSH_WRONG),
    "train_step": (checks.check_train_step, STEP_RIGHT, STEP_WRONG),
    "rollout": (checks.check_rollout, ROLLOUT_RIGHT, ROLLOUT_WRONG),
}


def test_every_checker_is_tested_here():
    assert {f"check_{name}" for name in CHECKERS} == {name for name in vars(checks) if name.startswith("check_")}


@pytest.mark.parametrize(
    ("checker", "function"),
    [pytest.param(c, f, id=f"{name}-{i}") for name, (c, right, _) in CHECKERS.items() for i, f in enumerate(right)],
)
def test_the_right_function_is_accepted_with_one_line(checker, function, capsys):
    checker(function)
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("checker", "function", "hint"),
    [pytest.param(c, *w, id=f"{name}-{i}") for name, (c, _, wrong) in CHECKERS.items() for i, w in enumerate(wrong)],
)
def test_a_wrong_function_is_refused_with_a_hint(checker, function, hint):
    with pytest.raises(AssertionError, match=hint):
        checker(function)


def in_place(target, online, coefficient):
    return target.mul_(coefficient).add_(online, alpha=1 - coefficient)


def test_follow_accepts_an_update_in_place():
    checks.check_follow(in_place)


@pytest.mark.parametrize(
    "function",
    [lambda target, online, c: (1 - c) * online, lambda target, online, c: target + (1 - c) * online],
)
def test_follow_refuses_a_target_that_forgets_or_grows(function):
    with pytest.raises(AssertionError):
        checks.check_follow(function)


@pytest.mark.parametrize(
    ("checker", "function"),
    [
        (checks.check_tap_indices, lambda *_: None),
        (checks.check_tap_indices, lambda *_: 3),
        (checks.check_fusion_block, lambda *_: None),
        (checks.check_uncertainty_total, lambda *_: None),
        (checks.check_uncertainty_total, lambda losses, s: ((-s).exp() * losses + s) / 2),
        (checks.check_follow, lambda *_: None),
        (checks.check_info_nce, lambda *_: None),
        (checks.check_push, lambda *_: None),
    ],
)
def test_nothing_returned_or_nothing_summed_is_refused_clearly(checker, function):
    with pytest.raises(AssertionError):
        checker(function)


def test_another_number_format_is_compared_all_the_same():
    checks.check_follow(lambda target, online, c: c * target.double() + (1 - c) * online.double())
    checks.check_tap_indices(lambda depth, taps: torch.arange(depth // taps - 1, depth, depth // taps))


def test_compare_takes_plain_numbers(capsys):
    checks.compare("number", 0.5, torch.tensor(0.5))
    checks.compare("list", [1.0, 2.0], torch.tensor([1.0, 2.0]))
    assert capsys.readouterr().out.count("shapes ok") == 2
