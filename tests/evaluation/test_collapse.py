"""Gauges of collapse at the two ends and on spectra known beforehand."""

import math

import pytest
import torch
from torch.nn import functional as F

from repre_lite.evaluation import effective_rank, embedding_std


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spectrum(*values, pictures=64, width=16):
    """A centred embedding (pictures, width) with these singular values."""
    left = draw(pictures, len(values)).double()
    left = torch.linalg.qr(left - left.mean(0)).Q
    right = torch.linalg.qr(draw(width, len(values), seed=1).double()).Q
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize("width", [8, 64, 256])
def test_std_is_zero_at_collapse_and_one_over_root_width_when_isotropic(width):
    assert embedding_std(draw(1, width).expand(500, width)) == pytest.approx(0, abs=1e-5)
    assert embedding_std(draw(500, width)) == pytest.approx(1, abs=0.02)  # times root width
    unit = F.normalize(draw(500, width), dim=1)
    assert embedding_std(unit) / width**0.5 == pytest.approx(unit.std(0).mean().item(), rel=1e-5)


def test_std_looks_at_directions_only_and_in_between_lies_between():
    x = draw(200, 32)
    assert embedding_std(x * torch.linspace(0.1, 50, 200)[:, None]) == pytest.approx(embedding_std(x), rel=1e-5)
    gauges = [embedding_std(x + offset) for offset in (0, 1, 3, 10)]
    assert gauges == sorted(gauges, reverse=True) and gauges[-1] < 0.2


@pytest.mark.parametrize("rank", [1, 2, 5, 16])
def test_rank_of_flat_spectra(rank):
    assert effective_rank(spectrum(*[3.0] * rank)) == pytest.approx(rank, rel=1e-3)


def test_rank_of_a_known_spectrum():
    entropy = -sum(p * math.log(p) for p in (0.5, 0.25, 0.25))
    assert effective_rank(spectrum(2, 1, 1)) == pytest.approx(math.exp(entropy), rel=1e-3)


def test_rank_ignores_offset_and_scale_and_is_one_at_collapse():
    x = spectrum(2, 1, 1)
    for other in (x * 100, x + 1, x - draw(16).double()):
        assert effective_rank(other) == pytest.approx(effective_rank(x), rel=1e-3)
    assert effective_rank(torch.ones(10, 4)) == pytest.approx(1, abs=1e-3)
    assert 14 < effective_rank(draw(500, 16)) <= 16
