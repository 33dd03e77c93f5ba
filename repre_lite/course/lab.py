"""`repre-lite lab`: JupyterLab on a private working copy of the course."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..runtime.errors import UserError
from ..visualize.kit.extra import extra
from . import editions

WORK = Path("work")
SOURCE = "source"  # in it, what the lessons link to: JupyterLab opens nothing outside its root


def lab(reset: str | None = None, no_browser: bool = False, more: Sequence[str] = ()) -> int:
    """`repre-lite lab`: copy the lessons that are missing in work/ and open JupyterLab there; its exit status.

    `reset` is the number of a lesson to restore; the changed one is kept beside it. `more` are options for JupyterLab,
    such as `--port=8888`, passed on unchanged.
    """
    more = [option for option in more if option != "--"]
    lessons = find_lessons()
    if reset is not None and not any(is_lesson(lesson, reset) for lesson in lessons):
        raise UserError(f"reset={reset}: no such lesson; choose one of {', '.join(path.name[:2] for path in lessons)}")
    check_jupyter(more)
    copy_lessons(lessons, reset)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={WORK}", *more]
    return run([*command, "--no-browser"] if no_browser else command)


def run(command: Sequence[str]) -> int:
    """Run a command until it ends and return its exit status. It receives Ctrl-C itself; a SIGTERM is passed on to it."""
    environment = dict(os.environ)
    home = os.path.expanduser("~")  # "~" itself for an account without a name
    if not os.access(home, os.W_OK):
        environment["HOME"] = str((WORK / ".home").absolute())
        print(f"{home} cannot be written; settings of this session are kept in {WORK / '.home'}", flush=True)
        (WORK / ".home").mkdir(exist_ok=True)
    process = subprocess.Popen(command, env=environment)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                status = process.wait()
                return status if status >= 0 else 128 - status
    finally:
        signal.signal(signal.SIGTERM, before)


def find_lessons() -> list[Path]:
    """The notebooks of the course: those of the checkout, or those inside the installed package."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "notebooks", package / "_notebooks"):
        lessons = sorted(folder.glob("[0-9][0-9]*.ipynb"))
        if lessons:
            return lessons
    raise UserError("no lessons found; install the package again, or run from a clone of the repository")


def is_lesson(path: Path, number: str) -> bool:
    """Whether `path` is the lesson of that number, "3" or "03"."""
    return number.isdecimal() and path.name.startswith(number.zfill(2))


def check_jupyter(options: Sequence[str]) -> None:
    """Raise UserError if JupyterLab is not installed, or if it would refuse to start because of the user or the home."""
    if find_spec("jupyterlab") is None:
        raise UserError("JupyterLab is not installed; run pip install 'repre-lite[notebooks]'")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root and not any("allow-root" in option or "allow_root" in option for option in options):
        raise UserError(
            "JupyterLab does not start as root; in a container add --allow-root, elsewhere use another account"
        )


def copy_lessons(lessons: Sequence[Path], reset: str | None) -> None:
    """Copy into work/ the lessons that are not there yet, and the one to `reset`, with the files that they link to."""
    if WORK.exists() and not WORK.is_dir():
        raise UserError(f"{WORK}: a file is in the way; rename it, or run lab in another folder")
    try:
        WORK.mkdir(exist_ok=True)
        for lesson in lessons:
            copy = WORK / lesson.name
            if reset is not None and is_lesson(lesson, reset) and copy.exists():
                kept = WORK / f"{copy.stem}-{time.strftime('%Y%m%d-%H%M%S')}.ipynb"
                copy.rename(kept)
                print(f"{copy} is restored; your version is kept as {kept}")
            if not copy.exists():
                book = editions.linked(editions.read(lesson), copy_target)
                _write(copy, extra("nbformat").writes(book).encode() + b"\n")
    except OSError as error:
        raise UserError(f"{WORK}: {error.strerror}; run lab in a folder you may write to") from None


def copy_target(target: str) -> str | None:
    """Copy a file that a lesson links to, such as `../repre_lite/encoder.py`, into work/source/ if it is not there yet.

    Returns the link to it from the working copy: as it was for other lessons, None for a file that an installed package
    does not have.
    """
    if not target.startswith("../"):
        return target
    name = target.removeprefix("../")
    original, copy = Path(__file__).parents[2] / name, WORK / SOURCE / name
    if not original.is_file():
        return None
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        _write(copy, original.read_bytes())
    return f"{SOURCE}/{name}"


def _write(path: Path, data: bytes) -> None:
    half = path.with_name(f".{path.name}.writing")
    half.write_bytes(data)
    half.replace(path)
