"""The strip of the lessons: every station is marked in its place, and all text can be read."""

import re
from pathlib import Path

import pytest
from matplotlib.colors import to_hex

import repre_lite as rl
from repre_lite.visualize.kit import palette
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.strip import STATIONS, you_are_here

LESSONS = sorted((Path(__file__).resolve().parents[3] / "notebooks").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("lesson", STATIONS)
def test_one_station_is_filled_and_the_marker_points_at_it(lesson):
    figure = you_are_here(lesson)
    (axis,) = figure.axes
    filled = [box for box in axis.patches if to_hex(box.get_facecolor()).upper() == palette.BLUE]
    assert len(filled) == 1
    marker = next(text for text in axis.texts if "here" in text.get_text())
    number, label, (x, _) = STATIONS[lesson]
    assert marker.get_position()[0] == x
    bold = [text.get_text() for text in axis.texts if text.get_weight() == "bold" and text is not marker]
    assert bold == [f"{number}\n{label}"]
    assert min(text.get_fontsize() for text in axis.texts) >= 9
    assert png(figure)[:4] == b"\x89PNG"


def test_nothing_is_cut_off_and_no_label_leaves_its_box():
    for lesson in STATIONS:
        figure = you_are_here(lesson)
        figure.canvas.draw()
        whole = figure.bbox
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
            if "here" not in text.get_text():
                assert box.width < 0.76 * figure.dpi


def test_the_stations_are_the_lessons():
    numbers = {number for number, _, _ in STATIONS.values()}
    assert {path.name[:2] for path in LESSONS} <= numbers
    assert all(re.fullmatch(r"\d\d", number) for number in numbers) and len(numbers) == len(STATIONS)


def test_an_unknown_station_is_refused():
    with pytest.raises(rl.UserError, match="choose one of start, views"):
        rl.course.you_are_here("view")
