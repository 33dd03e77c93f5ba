"""The diagrams of lesson 08: nothing is cut off, and the printed cosines are right."""

import re

import numpy as np
import pytest

from repre_lite.visualize.lessons.inside import shared_direction, three_encoders


@pytest.mark.parametrize("figure", [three_encoders(), shared_direction()], ids=["encoders", "direction"])
def test_all_text_is_legible_and_inside(figure, legible):
    legible(figure)


def test_a_shared_vector_raises_the_cosine_and_no_shift_leaves_it():
    def printed(figure):
        texts = " ".join(text.get_text() for text in figure.axes[0].texts)
        return [float(value) for value in re.findall(r"cosine (-?\d\.\d+)", texts)]

    around, moved = printed(shared_direction(spread=0.5, shift=2.0))
    assert around == pytest.approx(-0.2)  # six arrows that sum to zero: -1 / 5
    assert moved > 0.9
    angles = np.linspace(0, 2 * np.pi, 7)[:-1] + 0.3
    points = np.stack([2 + 0.5 * np.cos(angles), 0.5 * np.sin(angles)], axis=1)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert moved == pytest.approx(((unit @ unit.T).sum() - 6) / 30, abs=0.006)
