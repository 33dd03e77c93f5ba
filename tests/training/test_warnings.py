"""What the bar says of a run: each sentence once, and those that only many steps make sure not too early."""

from types import SimpleNamespace

import pytest

from repre_lite.evaluation.doctor import EARLY, HEALTHY
from repre_lite.training.train import _warn
from tests.evaluation.test_doctor import STEPS, run


@pytest.mark.parametrize(
    ("made", "kind", "after"),
    [
        (run("byol", spread=(0.8, 0.02)), "collapsed", 10),
        (run("simclr", loss=(4.2, 4.14)), "contrast at chance", STEPS / 3),
    ],
)
def test_the_bar_says_each_sentence_once_and_slow_ones_late(made, kind, after):
    metrics, facts = made
    lines, said = [], {EARLY, HEALTHY}
    for count in range(1, STEPS + 1):
        _warn(SimpleNamespace(write=lines.append), metrics[:count], facts, said)
    assert len(lines) == 1 and kind in lines[0]
    assert int(lines[0].split()[1].rstrip(":")) >= after
