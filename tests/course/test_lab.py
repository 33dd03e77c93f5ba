"""`repre-lite lab`: a private copy of the lessons, options handed on, and one line if it cannot start."""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from repre_lite.cli import main
from repre_lite.course import editions, lab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """An empty folder to work in; the commands that would have been run."""
    monkeypatch.chdir(tmp_path)
    commands = []
    monkeypatch.setattr(lab, "run", lambda command: commands.append(list(command)) or 0)
    monkeypatch.setattr(lab.os, "geteuid", lambda: 1000, raising=False)
    return commands


def alike(copy, lesson):
    """Whether a working copy is the lesson but for its links."""
    one, other = (editions.linked(editions.read(path), lambda target: None) for path in (copy, lesson))
    return one == other


def refused(capsys, *options):
    """The one line that `lab` ends with."""
    assert main(["lab", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_all_lessons_are_copied_and_jupyter_started_on_them(started, tmp_path):
    assert main(["lab", "--no-browser"]) == 0
    lessons = lab.find_lessons()
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == [*(p.name for p in lessons), "source"]
    assert all(alike(tmp_path / "work" / p.name, p) for p in lessons)
    command = started[0]
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--ServerApp.root_dir=work" in command and "--no-browser" in command


@pytest.mark.parametrize(
    ("given", "handed"),
    [
        (["--port=8999", "--ip", "0.0.0.0"], ["--port=8999", "--ip", "0.0.0.0"]),
        (["--", "--allow-root", "--no-browser"], ["--allow-root", "--no-browser"]),
        (["--ServerApp.token="], ["--ServerApp.token="]),
    ],
)
def test_other_options_go_to_jupyterlab_as_they_are(given, handed, started):
    assert main(["lab", *given]) == 0
    assert started[0][4:] == handed


def test_other_verbs_still_refuse_what_they_do_not_know(capsys):
    assert main(["evaluate", "run", "--port=8999"]) == 2
    assert "--port=8999" in capsys.readouterr().err


def test_what_a_reader_wrote_stays_and_reset_keeps_it(started, tmp_path, capsys):
    main(["lab"])
    first, second, *_ = sorted((tmp_path / "work").iterdir())
    first.write_text("mine")
    second.write_text("mine too")
    main(["lab"])
    assert first.read_text() == "mine"
    number = first.name[:2]
    assert main(["lab", "--reset", str(int(number))]) == 0
    (lesson,) = (p for p in lab.find_lessons() if p.name == first.name)
    assert alike(first, lesson) and second.read_text() == "mine too"
    (kept,) = (tmp_path / "work").glob(f"{first.stem}-*.ipynb")
    assert kept.read_text() == "mine" and kept.name in capsys.readouterr().out


def links(folder):
    """The targets of all lessons in a folder, relative to it."""
    return {target for path in folder.glob("[0-9]*.ipynb") for target in editions.links(editions.read(path))}


def test_links_lead_to_files_inside_the_working_copy(started, tmp_path):
    work = tmp_path / "work"
    main(["lab"])
    found = links(work)
    assert len(found) > 20 and all((work / target).is_file() and ".." not in target for target in found)
    mine = work / "source/repre_lite/encoder.py"
    assert mine.read_bytes() == (ROOT / "repre_lite/encoder.py").read_bytes()
    mine.write_text("mine")
    main(["lab", "--reset", "02"])
    assert mine.read_text() == "mine" and links(work) == found


def test_what_an_installed_package_does_not_have_is_text(started, tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "repre_lite"
    (package / "course").mkdir(parents=True)
    for target in links(ROOT / "notebooks"):
        if target.startswith("../repre_lite/"):
            file = package.parent / target.removeprefix("../")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("installed")
    shutil.copytree(ROOT / "notebooks", package / "_notebooks")
    monkeypatch.setattr(lab, "__file__", str(package / "course" / "lab.py"))
    main(["lab"])
    work = tmp_path / "work"
    assert all((work / target).is_file() for target in links(work))
    assert {path.name for path in (work / "source").iterdir()} == {"repre_lite"}
    assert alike(work / "03_reconstruction_decoder.ipynb", ROOT / "notebooks/03_reconstruction_decoder.ipynb")


@pytest.mark.parametrize("number", ["77", "", "000", "x"])
def test_a_lesson_that_is_not_there_is_named_and_nothing_written(number, started, tmp_path, capsys):
    assert "02" in refused(capsys, "--reset", number)
    assert not list(tmp_path.iterdir()) and not started


def test_a_file_called_work(started, tmp_path, capsys):
    (tmp_path / "work").write_text("mine")
    assert "rename" in refused(capsys)
    assert (tmp_path / "work").read_text() == "mine" and not started


@pytest.mark.parametrize("function", ["mkdir", "replace", "write_bytes"])
def test_a_folder_that_cannot_be_written(function, started, capsys, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(lab.Path, function, refuse)
    assert "Read-only file system" in refused(capsys) and not started


def test_an_interrupted_copy_is_done_again(started, tmp_path, monkeypatch):
    write = lab.Path.write_bytes

    def half(path, data):
        write(path, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(lab.Path, "write_bytes", half)
    assert main(["lab"]) == 130
    monkeypatch.setattr(lab.Path, "write_bytes", write)
    assert main(["lab"]) == 0
    assert all(alike(tmp_path / "work" / p.name, p) for p in lab.find_lessons())
    assert (tmp_path / "work/source/repre_lite/encoder.py").read_bytes() == (
        ROOT / "repre_lite/encoder.py"
    ).read_bytes()


def test_without_jupyterlab(started, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    assert "repre-lite[notebooks]" in refused(capsys)
    assert not list(tmp_path.iterdir())


def test_root_is_told_the_option(started, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lab.os, "geteuid", lambda: 0, raising=False)
    assert "--allow-root" in refused(capsys)
    assert not list(tmp_path.iterdir())
    for option in ("--allow-root", "--ServerApp.allow_root=True"):
        assert main(["lab", option]) == 0
    assert len(started) == 2


# -- the process itself


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def python(code):
    return [sys.executable, "-c", code]


def test_the_exit_status_is_that_of_the_process(work):
    assert lab.run(python("raise SystemExit(3)")) == 3
    assert lab.run(python("pass")) == 0


def test_a_home_that_cannot_be_written_is_replaced(work, monkeypatch, capsys):
    code = "import os, pathlib; pathlib.Path(os.environ['HOME'], 'settings').write_text('x')"
    monkeypatch.setenv("HOME", "/nowhere/at/all")
    assert lab.run(python(code)) == 0
    assert (work / ".home" / "settings").exists() and "cannot be written" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_sigterm_ends_the_process_too(work):
    code = "import time, pathlib; pathlib.Path('work/ready').touch(); time.sleep(60)"

    def end_it():
        while not (work / "ready").exists():
            threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=end_it)
    thread.start()
    assert lab.run(python(code)) == 128 + signal.SIGTERM
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
