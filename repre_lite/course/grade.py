"""`repre-lite grade`: run the exercises of students' notebooks and write who solved which.

This executes what students wrote, with the rights of whoever runs it: use an account that may lose its files.
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
    deadline = time.monotonic() + seconds
    client = nbclient.NotebookClient(notebook, timeout=seconds, allow_errors=True, kernel_name="python3", resources={})
    reached, stopped = 0, ""
    try:
        with client.setup_kernel(env=_environment()):
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
    errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
    if STUB in cell.source or any(error.ename == "NotImplementedError" for error in errors):
        return Grade(str(path), name, "not attempted", "")
    if not reached:
        return Grade(str(path), name, "not reached", stopped)
    if errors:
        message = COLOUR.sub("", f"{errors[0].ename}: {errors[0].evalue}").splitlines()[0]
        return Grade(str(path), name, "wrong", message)
    said = "".join(output.text for output in cell.outputs if output.output_type == "stream").splitlines()
    return Grade(str(path), name, "right", said[-1] if said else "")


def _table(grades: Sequence[Grade]) -> str:
    """CSV that a spreadsheet shows as text: a cell that would start a formula gets an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Grade)])
    for found in grades:
        writer.writerow([f"'{part}" if part[:1] in ("=", "+", "-", "@") else part for part in astuple(found)])
    return stream.getvalue()
