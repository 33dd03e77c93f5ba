"""Schedules against the formulas of the published code, written out."""

import dataclasses
import math

import pytest

import repre_lite as rl
from repre_lite.training.optim import decay_at, rate_at

TOTAL, WARMUP = 110, 10


def recipe(framework, **changes):
    return rl.recipe("scenes", framework, lr=1.0, min_lr=0.1, **changes)


def test_warmup_and_cosine_as_in_moco_v3():
    """adjust_learning_rate there: lr * epoch / warmup, then half a cosine of what is left, the epoch being fractional."""
    for step in range(TOTAL):
        expected = step / WARMUP
        if step >= WARMUP:
            expected = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (TOTAL - WARMUP)))
        assert rate_at(recipe("moco_v3"), step, TOTAL, WARMUP) == pytest.approx(expected, abs=1e-12)


def test_dinos_schedule_is_at_most_one_step_behind_the_published_one():
    """cosine_scheduler there: linspace from 0 to the peak over the warm-up, then half a cosine."""
    published = [step / (WARMUP - 1) for step in range(WARMUP)]
    published += [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / (TOTAL - WARMUP))) for step in range(TOTAL - WARMUP)]
    ours = [rate_at(recipe("dino"), step, TOTAL, WARMUP) for step in range(TOTAL)]
    assert ours[WARMUP:] == pytest.approx(published[WARMUP:])
    for step in range(1, WARMUP):
        assert published[step - 1] < ours[step] <= published[step]
    assert ours[0] == published[0] == 0


def test_mobys_cosine_begins_at_step_0():
    """timm's CosineLRScheduler without warmup_prefix: the warm-up replaces the beginning of the cosine."""
    for step in range(TOTAL):
        expected = step / WARMUP
        if step >= WARMUP:
            expected = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / TOTAL))
        assert rate_at(recipe("moby"), step, TOTAL, WARMUP) == pytest.approx(expected, abs=1e-12)
    assert rate_at(recipe("moby"), WARMUP, TOTAL, WARMUP) < 1


def test_a_run_without_warmup_begins_at_the_peak_and_the_batch_scales_the_base_rate():
    assert rate_at(recipe("moco_v3"), 0, TOTAL, 0) == 1.0
    scaled = dataclasses.replace(recipe("moco_v3"), lr=None, base_lr=1.0, batch_size=512)
    assert rate_at(scaled, WARMUP, TOTAL, WARMUP) == pytest.approx(2.0)


def test_weight_decay_is_constant_or_rises_by_half_a_cosine():
    rising = recipe("dino", weight_decay=0.04, weight_decay_end=0.4)
    published = [0.4 + 0.5 * (0.04 - 0.4) * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert [decay_at(rising, step, 100) for step in range(100)] == pytest.approx(published)
    constant = recipe("dino", weight_decay=0.04, weight_decay_end=None)
    assert {decay_at(constant, step, 100) for step in (0, 50, 99)} == {0.04}
