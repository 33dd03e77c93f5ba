"""Imagined studies against closed forms: signs, intervals, and what one pair can show."""

import math

import numpy as np
import pytest

from repre_lite.reproduce import paired, verdict
from repre_lite.reproduce.statistics import t_quantile
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.luck import Luck


@pytest.fixture(scope="module")
def luck():
    return Luck.compute(t_quantile, studies=4000, most=16)


def test_the_share_of_wrong_signs_is_that_of_a_normal_distribution(luck):
    for effect, spread, pairs in ((0.7, 1.0, 1), (0.5, 1.0, 4), (0.2, 2.0, 8)):
        exact = 0.5 * math.erfc(effect * pairs**0.5 / spread / 2**0.5)
        assert luck.wrong_sign(effect, spread, pairs) == pytest.approx(exact, abs=0.025)


def test_without_an_effect_one_interval_in_twenty_leaves_zero_out(luck):
    for pairs in (3, 8):
        found = luck.verdicts(0.0, 1.0, pairs)
        assert found["gain"].mean() + found["loss"].mean() == pytest.approx(0.05, abs=0.015)
    assert "sign" not in luck.describe(0.0, 1.0, 3)


def test_the_verdicts_are_those_of_reproduce(luck):
    found = luck.verdicts(0.7, 1.0, 5)
    for study in range(20):
        each = dict(enumerate(0.7 + luck.draws[study, :5]))
        said = verdict(paired(each, dict.fromkeys(range(5), 0.0)))
        assert found[said][study]
    assert np.array_equal(sum(chosen.astype(int) for chosen in found.values()), np.ones(4000))


def test_one_pair_shows_nothing_and_many_show_it(luck):
    assert luck.verdicts(0.7, 1.0, 2)["no difference shown"].all()
    assert luck.verdicts(1.0, 0.5, 16)["gain"].mean() > 0.99
    assert "0% show a gain and 0% a loss" in luck.describe(0.7, 1.0, 1)


def test_the_figure_and_the_sliders(luck, move_all):
    figure = luck.figure(0.7, 1.0, 8)
    counted = sum(patch.get_height() for patch in figure.axes[0].patches)
    assert counted == pytest.approx(4000, abs=10)  # a few may lie outside of the axis
    assert png(figure).startswith(b"\x89PNG")
    move_all(luck.widget(), lambda v: luck.describe(**v))
