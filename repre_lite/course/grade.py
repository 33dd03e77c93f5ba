"""`repre-lite grade`: run the exercises of students' notebooks and write who solved which.

This executes what students wrote, with the rights of whoever runs it: use an account whose files you can afford to lose.
"""

from __future__ import annotations

import csv
import io
import os
import re
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from ..runtime import files
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from ..runtime.text import plain_text
from ..visualize.kit.extra import extra
from . import checks
from .checks import exercise
from .checks.exercise import DOTS

CHECK = re.compile(r"checks\.check_(\w+)\(")
EXERCISE = "raises-exception"  # the tag of a cell with an exercise: as it is handed out, its check fails
STUB = "raise NotImplementedError"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Grade:
    """The result of one exercise: "right", "wrong", "not attempted" or "not reached"; `message`: what the check said."""

    notebook: str
    exercise: str
    result: str
    message: str


def grade(notebooks: Sequence[str], out: str = "grades.csv", seconds: int = 300) -> int:
    """`repre-lite grade`: run each notebook in a process of its own for at most `seconds`, print and write the results."""
    paths = [Path(name) for name in notebooks]
    for path in paths:
        if not path.is_file() or path.suffix != ".ipynb":
            raise UserError(f"{plain_text(path)}: not a notebook; give files that end in .ipynb")
    if seconds < 1:
        raise UserError(f"seconds={seconds}: give 1 or more")
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"out={plain_text(out)}: its folder does not exist; create it first")
    extra("nbclient")
    grades: list[Grade] = []
    with Progress(len(paths), "notebook") as bar:
        for path in paths:
            grades += run(path, seconds)
            bar.update()
    for found in grades:
        print("  ".join(plain_text(part) for part in astuple(found) if part))
    files.write_text(out, _table(grades))
    print(f"{out}: {sum(g.result == 'right' for g in grades)} of {len(grades)} exercises are right")
    return 0


def run(path: Path, seconds: int) -> list[Grade]:
    """The grades of one notebook, run from top to bottom at size fast in a fresh kernel; later cells run after errors.

    Raises UserError if the file is not a notebook.
    """
    nbformat, nbclient = extra("nbformat"), extra("nbclient")
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # whatever a damaged file causes in the reader
        raise UserError(
            f"{plain_text(path)}: not a readable notebook ({type(error).__name__}); restore it from a copy"
        ) from None
    for cell in notebook.cells:
        cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
    client = nbclient.NotebookClient(notebook, timeout=seconds, allow_errors=True, kernel_name="python3", resources={})
    reached, stopped = 0, ""
    try:
        with client.setup_kernel(env=_environment()):
            deadline = time.monotonic() + seconds
            for reached, cell in enumerate(notebook.cells):
                client.timeout = max(1, int(deadline - time.monotonic()))
                client.execute_cell(cell, reached)
            reached = len(notebook.cells)
    except (nbclient.exceptions.CellTimeoutError, nbclient.exceptions.DeadKernelError, TimeoutError) as error:
        stopped = "the time limit was reached" if "Timeout" in type(error).__name__ else "the process died"
    return [
        _grade(path, cell, name, index < reached, stopped)
        for index, cell in enumerate(notebook.cells)
        if (name := _exercise(cell)) is not None
    ]


def _environment() -> dict[str, str]:
    return {**os.environ, "REPRE_LITE_SIZE": "fast"}


def _exercise(cell: Any) -> str | None:
    """The name of the check in an exercise's cell."""
    found = CHECK.search(cell.source)
    return found[1] if found and EXERCISE in cell.metadata.get("tags", []) else None


def _grade(path: Path, cell: Any, name: str, reached: bool, stopped: str) -> Grade:
    """Right is what the check called solved; a stub counts as an attempt only where the check ran on it and refused."""
    outputs = cell.get("outputs", [])
    said = "".join(output.text for output in outputs if output.output_type == "stream").splitlines()
    check = getattr(checks, f"check_{name}", None)
    if check is not None and any(line.endswith(check.solved) for line in said):
        return Grade(str(path), name, "right", check.solved)
    errors = [output for output in outputs if output.output_type == "error"]
    if not reached and STUB not in cell.source:
        return Grade(str(path), name, "not reached", stopped)
    if not errors or any(_untouched(error, cell.source) for error in errors):
        return Grade(str(path), name, "not attempted", "")
    message = COLOUR.sub("", f"{errors[0].ename}: {errors[0].evalue}").splitlines()[0]
    return Grade(str(path), name, "wrong", message)


def _untouched(error: Any, source: str) -> bool:
    """Whether an error is that of an exercise as it is handed out: its stub's or its dots', or raised before the check."""
    if error.ename == "NotImplementedError":
        return error.evalue == DOTS or (STUB in source and error.evalue in source)
    return STUB in source and not any(Path(exercise.__file__).name in line for line in error.traceback)


def _table(grades: Sequence[Grade]) -> str:
    """CSV that a spreadsheet shows as text: a cell that would start a formula gets an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Grade)])
    for found in grades:
        writer.writerow([f"'{part}" if part[:1] in ("=", "+", "-", "@") else part for part in astuple(found)])
    return stream.getvalue()
