"""Losses against slow explicit float64 references, closed forms, and gradients."""

import copy
import math
from unittest import mock

import pytest
import torch

from repre_lite.losses import (
    FixedWeighting,
    UncertaintyWeighting,
    build_weighting,
    dino_cross_entropy,
    info_nce,
    info_nce_queue,
    negative_cosine,
    nt_xent,
    pixel_l1,
)
from repre_lite.runtime.errors import UserError


def unit(x):
    return [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in x.tolist()]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax_loss(scores, positive):
    return -scores[positive] + math.log(sum(math.exp(s) for s in scores))


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_info_nce_is_the_loop(pair):
    q, k = (unit(x) for x in pair)
    expected = sum(softmax_loss([dot(a, b) / 0.2 for b in k], i) for i, a in enumerate(q)) / 5
    assert info_nce(*pair, temperature=0.2).item() == pytest.approx(expected, abs=1e-12)


def test_info_nce_offset_picks_the_other_processes_rows(pair):
    q, k = pair
    rows = list(enumerate(unit(q)))[2:4]
    expected = sum(softmax_loss([dot(a, b) / 0.3 for b in unit(k)], i) for i, a in rows) / 2
    assert info_nce(q[2:4], k, 0.3, offset=2).item() == pytest.approx(expected, abs=1e-12)


def test_info_nce_closed_forms():
    same = torch.ones(6, 4, dtype=torch.float64)
    assert info_nce(same, same, 0.1).item() == pytest.approx(math.log(6))  # collapse: no key stands out
    apart = torch.eye(6, dtype=torch.float64)
    assert info_nce(apart, apart, 0.5).item() == pytest.approx(math.log(1 + 5 * math.exp(-2)))  # perfect alignment


def test_info_nce_queue_is_the_loop(pair):
    queue = torch.nn.functional.normalize(
        torch.randn(9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    q, k = (unit(x) for x in pair)
    expected = 0.0
    for a, b in zip(q, k, strict=True):
        expected += softmax_loss([dot(a, b) / 0.2] + [dot(a, n) / 0.2 for n in queue.tolist()], 0) / 5
    assert info_nce_queue(*pair, queue, 0.2).item() == pytest.approx(expected, abs=1e-12)


def test_perfect_alignment_closed_forms():
    apart = torch.eye(8, dtype=torch.float64)
    few, queue = apart[:3], apart[3:]  # every key its query, everything else at right angles
    assert info_nce_queue(few, few, queue, 0.5).item() == pytest.approx(math.log(1 + 5 * math.exp(-2)))
    assert nt_xent(few, few, 0.5).item() == pytest.approx(math.log(1 + 4 * math.exp(-2)))
    teacher, centre = torch.randn(2, 3, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    teacher[1] = teacher[0]
    student = (teacher - centre) * 0.1 / 0.04  # the student is as sure as its teacher: what stays is the entropy
    p = ((teacher[0] - centre) / 0.04).softmax(-1)
    entropy = -(p * p.log()).nan_to_num().sum(-1).mean()
    assert dino_cross_entropy(student, teacher, centre, 0.1, 0.04).item() == pytest.approx(entropy.item())


def test_negative_cosine(pair):
    p, z = pair
    expected = -sum(dot(a, b) for a, b in zip(unit(p), unit(z), strict=True)) / 5
    assert negative_cosine(p, z).item() == pytest.approx(expected, abs=1e-12)
    assert negative_cosine(p, 3 * p).item() == pytest.approx(-1)
    p.requires_grad_()
    z.requires_grad_()
    negative_cosine(p, z).backward()
    assert z.grad is None and p.grad.abs().sum() > 0


def test_nt_xent_is_the_loop(pair):
    z = unit(torch.cat(pair))
    expected = 0.0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        scores = [dot(z[i], z[j]) / 0.5 for j in others]
        expected += softmax_loss(scores, others.index((i + 5) % 10)) / 10
    assert nt_xent(*pair, temperature=0.5).item() == pytest.approx(expected, abs=1e-12)
    same = torch.ones(4, 3, dtype=torch.float64)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(math.log(7))


def test_pixel_l1_is_the_mean_absolute_error():
    a = torch.tensor([[[[0.0, 0.5]]]])
    assert pixel_l1(a, torch.tensor([[[[1.0, 0.25]]]])).item() == pytest.approx((1 + 0.25) / 2)


def test_pixel_l1_never_broadcasts():
    with pytest.raises(UserError, match="differ in shape"):
        pixel_l1(torch.zeros(4, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_dino_cross_entropy_is_the_loop():
    generator = torch.Generator().manual_seed(2)
    student = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)
    teacher = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    centre = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    total, pairs = 0.0, 0
    for i in range(2):
        for j in range(4):
            if i == j:
                continue
            for b in range(3):
                t = [math.exp((x - c) / 0.04) for x, c in zip(teacher[i, b].tolist(), centre[0].tolist(), strict=True)]
                s = [x / 0.1 for x in student[j, b].tolist()]
                norm = math.log(sum(math.exp(x) for x in s))
                total -= sum(x / sum(t) * (y - norm) for x, y in zip(t, s, strict=True)) / 3
            pairs += 1
    assert pairs == 6
    assert dino_cross_entropy(student, teacher, centre, 0.1, 0.04).item() == pytest.approx(total / pairs, abs=1e-12)
    flat = torch.zeros(2, 3, 6)
    assert dino_cross_entropy(flat, flat, torch.zeros(1, 6), 0.1, 0.04).item() == pytest.approx(math.log(6), abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: info_nce(a, b, 0.3),
        lambda a, b: nt_xent(a, b, 0.3),
        lambda a, b: negative_cosine(a, b.detach()),
        lambda a, b: pixel_l1(a, b),
        lambda a, b: info_nce_queue(a, b, torch.eye(7, dtype=torch.float64), 0.3),
    ],
)
def test_gradients_against_finite_differences(loss, pair):
    a, b = pair
    assert torch.autograd.gradcheck(lambda x: loss(x, b), (a.requires_grad_(),))


def test_uncertainty_weighting_is_half_exp_minus_s_plus_s():
    weighting = UncertaintyWeighting()
    first = weighting(torch.tensor(3.0), torch.tensor(0.5))  # s = log L
    assert first.item() == pytest.approx((1 + math.log(3) + 1 + math.log(0.5)) / 2, abs=1e-6)
    assert weighting.weights.tolist() == pytest.approx([0.5 / 3, 0.5 / 0.5])
    second = weighting(torch.tensor(1.0), torch.tensor(1.0))  # s stays until an optimiser moves it
    assert second.item() == pytest.approx((1 / 3 + math.log(3) + 2 + math.log(0.5)) / 2, abs=1e-6)


def test_weights_converge_to_one_over_the_loss():
    weighting = UncertaintyWeighting()
    weighting(torch.tensor(1.0), torch.tensor(1.0))
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        weighting(torch.tensor(4.0), torch.tensor(0.1)).backward()
        optimiser.step()
    contrastive, reconstruction = weighting.weights.tolist()
    assert reconstruction / contrastive == pytest.approx(40, rel=0.02)
    assert contrastive == pytest.approx(1 / 8, rel=0.02)


def test_weights_stay_bounded_as_a_loss_vanishes_and_recover():
    weighting = UncertaintyWeighting(floor=-3)
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.1)
    for reconstruction, lowest, highest in ((0.0, 10.0, 0.5 * math.exp(3) + 1e-3), (1.0, 0.0, 0.6)):
        for _ in range(300):
            optimiser.zero_grad()
            weighting(torch.tensor(1.0), torch.tensor(reconstruction)).backward()
            optimiser.step()
        assert lowest <= weighting.weights[1].item() <= highest


def test_weighting_state_survives_saving():
    one, other = UncertaintyWeighting(), UncertaintyWeighting()
    one(torch.tensor(3.0), torch.tensor(0.5))
    other.load_state_dict(one.state_dict())
    other(torch.tensor(9.0), torch.tensor(9.0))  # must not start again from this batch
    assert torch.equal(one.weights, other.weights)


def test_the_state_is_tensors_alone():
    weighting = UncertaintyWeighting()
    weighting(torch.tensor(3.0), torch.tensor(0.5))
    assert set(weighting.state_dict()) == {"log_variances", "initialised"}
    assert all(isinstance(value, torch.Tensor) for value in weighting.state_dict().values())
    assert copy.deepcopy(weighting).initialised


@pytest.mark.parametrize("first", [(math.inf, 0.5), (math.nan, 0.5), (2.0, math.nan)])
def test_a_first_loss_that_is_not_finite_is_waited_out(first):
    weighting = UncertaintyWeighting()
    weighting(*map(torch.tensor, first))
    assert weighting.log_variances.tolist() == [0, 0] and not weighting.initialised
    total = weighting(torch.tensor(2.0), torch.tensor(0.5))
    assert weighting.log_variances.tolist() == pytest.approx([math.log(2), math.log(0.5)])
    assert total.item() == pytest.approx((1 + math.log(2) + 1 + math.log(0.5)) / 2)


def test_a_loss_of_validation_starts_nothing():
    weighting = UncertaintyWeighting().eval()
    with mock.patch("repre_lite.losses.all_mean", side_effect=AssertionError("one process may be alone here")):
        weighting(torch.tensor(3.0), torch.tensor(0.5))
    assert weighting.log_variances.tolist() == [0, 0] and not weighting.initialised


def test_a_loss_that_is_not_finite_later_leaves_the_weights():
    weighting = UncertaintyWeighting()
    weighting(torch.tensor(2.0), torch.tensor(0.5))
    before = weighting.weights
    assert not weighting(torch.tensor(math.inf), torch.tensor(0.5)).isfinite()
    assert torch.equal(weighting.weights, before)


def test_a_loss_below_zero_is_an_error():
    weighting = UncertaintyWeighting()
    with pytest.raises(UserError, match="loss_floor="):
        weighting(torch.tensor(-0.02), torch.tensor(0.5))
    assert not weighting.initialised
    assert weighting(torch.tensor(-1e-7), torch.tensor(0.5)).isfinite()  # rounding of 1 - 1


def test_weights_are_computed_in_fp32_under_autocast():
    weighting = UncertaintyWeighting()
    with torch.autocast("cpu", torch.bfloat16):
        total = weighting(torch.tensor(3.0, dtype=torch.bfloat16), torch.tensor(0.5))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx((2 + math.log(3) + math.log(0.5)) / 2, abs=1e-6)


def test_build_weighting():
    assert isinstance(build_weighting("uncertainty"), UncertaintyWeighting)
    fixed = build_weighting("fixed:1,0.25")
    assert isinstance(fixed, FixedWeighting)
    assert fixed(torch.tensor(2.0), torch.tensor(4.0)).item() == 3
    assert build_weighting("fixed:0,1").weights.tolist() == [0, 1]
    for bad in ("fixed:0,0", "fixed", "fixed:1", "fixed:1,x", "fixed:1,-1", "learned", "fixed:1,2,3"):
        with pytest.raises(UserError, match="weighting="):
            build_weighting(bad)
