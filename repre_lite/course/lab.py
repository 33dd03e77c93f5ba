"""`repre-lite lab`: JupyterLab on a private working copy of the course."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ..runtime.errors import UserError


def lab(reset: str | None, no_browser: bool) -> int:
    """`repre-lite lab`: copy lessons that are not there yet into work/ and open JupyterLab on them."""
    lessons = _lessons()
    work = Path("work")
    work.mkdir(exist_ok=True)
    for lesson in lessons:
        copy = work / lesson.name
        if reset and lesson.name.startswith(reset) and copy.exists():
            kept = work / f"{copy.stem}-{time.strftime('%Y%m%d-%H%M%S')}.ipynb"
            copy.rename(kept)
            print(f"{copy} is fresh again; yours is kept as {kept}")
        if not copy.exists():
            shutil.copyfile(lesson, copy)
    if reset and not any(lesson.name.startswith(reset) for lesson in lessons):
        raise UserError(
            f"--reset {reset}: no lesson of that number; there are {', '.join(p.name[:2] for p in lessons)}"
        )
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={work}"]
    try:
        return subprocess.call(command + (["--no-browser"] if no_browser else []), env=dict(os.environ))
    except KeyboardInterrupt:
        return 0


def _lessons() -> list[Path]:
    """The course: in the checkout, or inside the installed package."""
    here = Path(__file__).parent
    for folder in (here.parents[1] / "notebooks", here.parent / "_notebooks"):
        lessons = sorted(folder.glob("[0-9]*.ipynb"))
        if lessons:
            return lessons
    raise UserError("no lessons found; run from a clone of the repository")
