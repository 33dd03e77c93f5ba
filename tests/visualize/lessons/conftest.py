"""What every drawing of a lesson must keep."""

import pytest


@pytest.fixture
def legible():
    """`legible(figure)`: all text of its first axes is 9 points or more, and inside the figure."""

    def check(figure):
        figure.canvas.draw()
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert text.get_fontsize() >= 9
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1

    return check
