"""Counter-based numbers: uniform, independent of each other and of how a batch is split; streams leave no trace."""

import random

import pytest
import torch

from repre_lite.runtime.randomness import fork, generator, uniform

N = 50_000
ROWS = torch.arange(N)
AXES = {
    "rows": lambda: uniform(7, 3, ROWS, 1, 1),
    "columns": lambda: uniform(7, 3, torch.tensor([5]), 1, N),
    "steps": lambda: torch.cat([uniform(7, step, torch.arange(50), 1, 10) for step in range(100)]),
    "seeds": lambda: torch.cat([uniform(seed, 3, torch.arange(50), 1, 10) for seed in range(100)]),
    "high seeds": lambda: torch.cat([uniform(seed << 32, 3, torch.arange(50), 1, 10) for seed in range(100)]),
    "purposes": lambda: torch.cat([uniform(7, 3, torch.arange(50), purpose, 10) for purpose in range(100)]),
}


def excess(cells, bins):
    """How many standard deviations chi-square lies above (or below) what a uniform draw gives."""
    counts = torch.bincount(cells, minlength=bins).double()
    expected = len(cells) / bins
    statistic = ((counts - expected).square() / expected).sum().item()
    return abs(statistic - (bins - 1)) / (2 * (bins - 1)) ** 0.5


def test_the_chi_square_gauge_sees_what_is_not_uniform():
    draws = torch.rand(N, generator=torch.Generator().manual_seed(0))
    assert excess((draws * 256).long(), 256) < 4
    assert excess((draws**1.05 * 256).long(), 256) > 5  # a slight slope
    assert excess(torch.arange(N) % 256, 256) > 5  # too even


@pytest.mark.parametrize("axis", AXES)
def test_uniform_by_chi_square(axis):
    x = AXES[axis]().flatten().double()
    assert x.min() >= 0 and x.max() < 1
    assert excess((x * 256).long(), 256) < 4
    assert excess((x * 2**24).long() % 256, 256) < 4  # the last bits too
    pairs = (x[:-1:2] * 16).long() * 16 + (x[1::2] * 16).long()
    assert excess(pairs, 256) < 4  # neighbours know nothing of each other


@pytest.mark.parametrize(
    "other",
    [
        dict(step=4),
        dict(seed=8),
        dict(seed=7 + 2**32),
        dict(purpose=2),
        dict(rows=ROWS + 1),
        dict(rows=ROWS + 2**31),
    ],
    ids=str,
)
def test_numbers_for_another_step_seed_purpose_or_row_are_unrelated(other):
    arguments = dict(seed=7, step=3, rows=ROWS, purpose=1, count=1)
    x, y = uniform(**arguments).flatten(), uniform(**(arguments | other)).flatten()
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1].item()) < 4 / N**0.5
    assert excess((x * 16).long() * 16 + (y * 16).long(), 256) < 4


def test_a_split_batch_gets_the_numbers_of_the_whole():
    rows = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    whole = uniform(7, 3, torch.arange(64), 1, 5)
    assert torch.equal(torch.cat([uniform(7, 3, part, 1, 5) for part in torch.arange(64).split([1, 30, 33])]), whole)
    assert torch.equal(uniform(7, 3, rows, 1, 5), whole[rows])
    assert torch.equal(uniform(7, 3, torch.arange(64), 1, 3), whole[:, :3])  # more columns do not move the first


def test_known_bits():
    """Runs of the past can be repeated only while these stay."""
    drawn = (uniform(7, 3, torch.tensor([0, 1000]), 1, 2) * 2**24).long().tolist()
    assert drawn == [[16363834, 8228016], [13728275, 5366292]]


def test_64_bit_seeds_differ_and_repeat():
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**33, 2**63 - 1, 2**63, 2**64 - 1]
    draws = [tuple(uniform(seed, 0, torch.arange(4), 0, 2).flatten().tolist()) for seed in seeds]
    assert len(set(draws)) == len(seeds)
    assert draws == [tuple(uniform(seed, 0, torch.arange(4), 0, 2).flatten().tolist()) for seed in seeds]


def test_step_as_tensor_and_other_types():
    whole = uniform(7, 300, torch.arange(9), 1, 4)
    assert torch.equal(uniform(7, torch.tensor(300), torch.arange(9), 1, 4), whole)
    assert torch.equal(uniform(7, torch.tensor(300), torch.arange(9), torch.tensor(1), 4), whole)
    assert torch.equal(uniform(7, 300, torch.arange(9), 1, 4, torch.float64), whole.double())  # 24 bits are exact


def test_uniform_neither_reads_nor_moves_the_state_of_the_process():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    x = uniform(7, 3, ROWS[:8], 1, 4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(uniform(7, 3, ROWS[:8], 1, 4), x)


def test_generators_are_streams_of_their_own():
    def draw(seed, name):
        return tuple(torch.rand(3, generator=generator(seed, name)).tolist())

    streams = [(0, "encoder"), (0, "heads"), (1, "encoder"), (11, "1/x"), (1, "11/x"), (2**40, "encoder")]
    assert len({draw(*stream) for stream in streams}) == len(streams)
    assert draw(0, "encoder") == draw(0, "encoder")


def test_fork_is_the_named_stream_and_restores_the_state():
    torch.manual_seed(5)
    random.seed(5)
    before, python = torch.get_rng_state(), random.getstate()
    with fork(3, "heads"):
        inside = torch.rand(4)
        with fork(3, "decoder"):
            assert not torch.equal(torch.rand(4), inside)
        after = torch.rand(4)  # the inner fork has not moved the outer one
    assert torch.equal(torch.get_rng_state(), before) and random.getstate() == python
    expected = torch.rand(8, generator=generator(3, "heads"))
    assert torch.equal(torch.cat([inside, after]), expected)
    with fork(3, "heads", torch.device("cpu")):
        assert torch.equal(torch.rand(4), expected[:4])
    with pytest.raises(KeyError), fork(3, "heads"):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
