"""The shares in a moving average, against the average itself."""

import torch

from repre_lite.frameworks.base import cosine_to_one
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.memory import Memory

PNG = b"\x89PNG\r\n\x1a\n"


def test_memory_is_what_the_moving_average_does(move_all):
    view, online, target = Memory.compute(20), torch.randn(20, dtype=torch.float64), torch.zeros(())
    start = target = torch.tensor(3.0, dtype=torch.float64)
    for step in range(12):
        coefficient = cosine_to_one(0.9, step / 20)
        target = coefficient * target + (1 - coefficient) * online[step]
    shares = torch.from_numpy(view.shares(0.9, 11))
    assert torch.allclose(target, (shares * online[:12]).sum() + (1 - shares.sum()) * start)
    assert png(view.figure()).startswith(PNG)
    move_all(view.widget(), lambda v: view.describe(v["base"], v["at"]))
