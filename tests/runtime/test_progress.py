"""A bar for people who watch, plain lines for a file, nothing from other processes."""

import io
import sys
from types import SimpleNamespace

import pytest

from repre_lite.runtime import progress
from repre_lite.runtime.progress import Progress, say


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def file(capsys):
    """The lines written to a standard error that nobody watches."""
    lines = []

    def read():
        lines.extend(capsys.readouterr().err.splitlines())
        return lines

    return read


def test_a_file_gets_the_first_line_one_every_thirty_seconds_and_the_last(clock, file):
    with Progress(1000, "step") as bar:
        for step in range(1, 1001):
            clock.seconds += 0.125
            bar.show({"loss": f"{2 - step / 1000:.3f}"})
            bar.update()
    lines = file()
    assert [line.split(" of ")[0] for line in lines] == [
        f"step {n}" for n in ("1", "241", "481", "721", "961", "1,000")
    ]
    assert lines[1].startswith("step 241 of 1,000, 8.0 steps/s, 0:00:30 elapsed, 0:01:35 left")
    assert lines[-1] == "step 1,000 of 1,000, 8.0 steps/s, 0:02:05 elapsed, 0:00:00 left, loss 1.000"
    assert not any("\r" in line for line in lines)


def test_short_work_shows_nothing_and_a_last_line_is_not_repeated(clock, file):
    for seconds, expected in ((0.1, 0), (1.0, 2)):
        with Progress(10, "image", "reading", delay=2) as bar:
            for _ in range(10):
                clock.seconds += seconds
                bar.update()
        assert len(file()) == expected
    assert file()[0].startswith("reading: image 2 of 10")
    with Progress(5, "image", initial=4) as bar:
        bar.update()
    assert file()[2:] == ["image 5 of 5, 1,000,000,000.0 images/s, 0:00:00 elapsed, 0:00:00 left"]
    with Progress(5, "image", initial=5):
        pass
    assert len(file()) == 3


def test_an_interrupted_run_ends_with_where_it_was(clock, file):
    with pytest.raises(KeyboardInterrupt), Progress(10, "step") as bar:
        for step in range(10):
            clock.seconds += 1
            bar.update()
            if step == 4:
                raise KeyboardInterrupt
    assert file()[-1].startswith("step 5 of 10")


@pytest.mark.parametrize("place", ["terminal", "notebook"])
def test_a_person_gets_a_bar(place, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal() if place == "terminal" else io.StringIO())
    if place == "notebook":
        monkeypatch.setitem(
            sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
        )
    with Progress(3, "step") as bar:
        bar.show({"loss": "1.000"})
        bar.update(3)
        bar.write("a warning")
    written = sys.stderr.getvalue()
    assert "3/3" in written and "loss=1.000" in written and "\r" in written and "a warning\n" in written


def test_only_the_main_process_prints(monkeypatch, clock, file):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        with Progress(1, "step") as bar:
            bar.update()
            bar.write("a warning")
        assert len(file()) == (2 if rank == "0" else 0)
    with Progress(1, "step", quiet=True) as bar:
        bar.update()
        bar.write("a warning")
    assert len(file()) == 2


def test_a_sentence_is_said_once(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        say("reading")
        say("hushed", quiet=True)
    assert capsys.readouterr().out == "reading\n"
