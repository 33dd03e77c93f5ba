"""Paired differences over seeds, with a confidence interval and a verdict in words."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass

LEAST = 3  # seeds for a verdict
LEVEL = 0.95


@dataclass(frozen=True)
class Paired:
    """Differences by seed, of what has a value for both sides; `level`: the confidence of the interval."""

    each: dict[int, float]
    level: float = LEVEL

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.each)

    @property
    def mean(self) -> float | None:
        """The mean difference; None without pairs."""
        return statistics.fmean(self.each.values()) if self.each else None

    @property
    def half(self) -> float | None:
        """Half the width of the interval around the mean, t * s / sqrt(n); None for fewer than two pairs.

        It assumes that the differences of single seeds are drawn from one normal distribution.
        """
        spread = deviation(self.each.values())
        return None if spread is None else t_quantile(self.n - 1, self.level) * spread / math.sqrt(self.n)


def deviation(values: Collection[float]) -> float | None:
    """Their standard deviation; None for fewer than two values, nan if one of them is not finite."""
    if len(values) < 2:
        return None
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def paired(values: Mapping[int, float], base: Mapping[int, float], level: float = LEVEL) -> Paired:
    """`values` minus `base`, both by seed, for the seeds that both have."""
    return Paired({seed: values[seed] - base[seed] for seed in sorted(values.keys() & base.keys())}, level)


def verdict(found: Paired, better: int = 1) -> str:
    """What a difference shows, in words.

    `better`: 1 if higher is better, -1 if lower is, 0 if neither. It is a gain or a loss only if 0 lies outside of the
    interval, and with fewer than three pairs nothing is concluded.
    """
    mean, half = found.mean, found.half
    if mean is None or half is None or found.n < LEAST:
        return f"no verdict: {found.n} of the {LEAST} seeds needed"
    if not math.isfinite(mean) or not math.isfinite(half):
        return "no verdict: a value is not finite"
    if abs(mean) <= half or mean == 0:
        return "no difference shown"
    if better == 0:
        return "higher" if mean > 0 else "lower"
    return "gain" if mean * better > 0 else "loss"


@functools.cache
def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """The t for which a share `level` of Student's distribution with `freedom` degrees of freedom lies in [-t, t].

    By bisection of the closed forms for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4), because
    scipy is no dependency. Raises ValueError for less than one degree, or a level outside of (0, 1).
    """
    if freedom < 1 or not 0 < level < 1:
        raise ValueError(f"freedom={freedom}, level={level}: give 1 or more, and a share between 0 and 1")
    low, high = 0.0, 1.0
    while _inside(high, freedom) < level:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < level else (low, middle)
    return high


def _inside(t: float, freedom: int) -> float:
    """The share of Student's distribution between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd, total = math.cos(angle), freedom % 2, 0.0
    term = cosine if odd else 1.0
    for k in range((freedom - odd) // 2):
        total += term
        term *= cosine**2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
