"""Paired differences against computations by hand."""

import math

import pytest

from repre_lite.reproduce.statistics import Paired, paired, t_quantile, verdict

# Two-sided 95 % (upper 97.5 %) points of Student's t for 1 to 30 degrees of freedom: NIST/SEMATECH e-Handbook of
# Statistical Methods, section 1.3.6.7.2.
NIST = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def test_quantiles_are_those_of_the_published_table():
    assert [round(t_quantile(freedom), 3) for freedom in range(1, 31)] == pytest.approx(NIST, abs=1e-9)


def test_other_levels_and_closed_forms():
    assert t_quantile(1, 0.5) == pytest.approx(1.0)  # Cauchy: quartiles at -1 and 1
    assert t_quantile(2, 0.9) == pytest.approx(0.9 * math.sqrt(2 / (1 - 0.9**2)))
    assert round(t_quantile(7, 0.99), 3) == 3.499  # the same handbook
    assert t_quantile(1000) == pytest.approx(1.962, abs=1e-3)
    for freedom, level in ((0, 0.95), (3, 1.0), (3, 0.0)):
        with pytest.raises(ValueError, match="give"):
            t_quantile(freedom, level)


def test_an_interval_by_hand():
    # differences 1, 2, 3: mean 2, standard deviation 1, t(2) = 4.303, half 4.303 / sqrt(3) = 2.484
    found = paired({0: 11.0, 1: 12.0, 2: 13.0, 7: 0.0}, {2: 10.0, 1: 10.0, 0: 10.0, 9: 5.0})
    assert found.each == {0: 1.0, 1: 2.0, 2: 3.0}
    assert found.mean == 2.0 and found.half == pytest.approx(2.484, abs=1e-3)
    assert verdict(found) == "no difference shown"
    # differences .5, .7, .6, .6: s = .0816497, t(3) = 3.182, half = .129903
    found = Paired({0: 0.5, 1: 0.7, 2: 0.6, 3: 0.6})
    assert found.half == pytest.approx(3.182446 * 0.0816497 / 2, abs=1e-6)
    assert verdict(found) == "gain" and verdict(found, -1) == "loss" and verdict(found, 0) == "higher"
    opposite = Paired({seed: -value for seed, value in found.each.items()})
    assert verdict(opposite) == "loss" and verdict(opposite, -1) == "gain" and verdict(opposite, 0) == "lower"


def test_a_wider_level_can_take_a_verdict_back():
    each = {0: 0.9, 1: 0.1, 2: 0.5}  # mean .5, half .994 at 95 %, .390 at 68 % or so
    assert verdict(Paired(each)) == "no difference shown"
    assert verdict(Paired(each, level=0.6)) == "gain"


def test_pairing_matters():
    base = {seed: float(10 * seed) for seed in range(5)}
    values = {seed: value + 1 + 0.1 * (seed % 2) for seed, value in base.items()}
    assert verdict(paired(values, base)) == "gain"  # though seeds differ by tens


@pytest.mark.parametrize("each", [{}, {0: 5.0}, {0: 5.0, 1: 5.1}])
def test_few_seeds_give_no_verdict(each):
    assert verdict(Paired(each)).startswith(f"no verdict: {len(each)} of the 3 seeds needed")
    assert Paired(each).half is None or len(each) == 2
    assert (Paired(each).mean is None) == (not each)


def test_equal_runs_and_values_that_are_not_finite():
    assert verdict(Paired(dict.fromkeys(range(4), 0.0))) == "no difference shown"
    assert verdict(Paired(dict.fromkeys(range(4), 0.25))) == "gain"  # the interval is a point
    assert verdict(Paired({0: 1.0, 1: math.nan, 2: 1.0})) == "no verdict: a value is not finite"


def test_a_difference_on_the_edge_of_its_interval_is_no_gain():
    spread = math.sqrt(3) / t_quantile(2)  # s for which half is exactly 1
    edge = Paired({0: 1.0 - spread, 1: 1.0, 2: 1.0 + spread})
    assert edge.mean == pytest.approx(edge.half)
    wider = Paired({seed: value - 1e-9 for seed, value in edge.each.items()})
    assert verdict(wider) == "no difference shown"
