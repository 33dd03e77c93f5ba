"""Execute lessons in place, as they are committed: laptop size, outputs small and without anything of this machine.

python scripts/execute_lessons.py notebooks/03_reconstruction_decoder.ipynb [...]    (all lessons if none is named)

Afterwards a notebook has execution counts from 1 to n, only the last line of an exercise's error, no widget state, no times,
and line figures as palette PNGs, which loses nothing with few colours. How long the cells ran is written into the
lesson's first cell, behind `*Machine:*`, and into results/lessons.json with the hardware: run it on a quiet machine, with
two threads (REPRE_LITE_THREADS=2). `--keep-times` leaves both as they are.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
TIMES = HERE / "results" / "lessons.json"
MACHINE = re.compile(r"(?<=^\*Machine:\* )[^.*]+(?=\.)", re.M)
FEW = 4_000  # colours: a line figure with smoothed edges has fewer, an image has more


def execute(path: Path) -> float:
    """Execute one lesson in place; returns the seconds its cells took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    seconds = time.perf_counter() - start
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # a widget shows nothing without a kernel; its static figure stands above it
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in output.traceback[-1:]]
            elif "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {seconds:.0f} s", flush=True)
    return seconds


def record(path: Path, seconds: float) -> None:
    """Write the time of a lesson into its first cell and into results/lessons.json."""
    from repre_lite.runtime.device import set_threads
    from repre_lite.runtime.provenance import provenance

    set_threads()
    table = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {"lessons": {}}
    table = {"what": "seconds to run all cells of a lesson at laptop size, kernel start included", **table}
    table["lessons"][path.stem] = {"seconds": round(seconds), **provenance()}
    table["lessons"] = dict(sorted(table["lessons"].items()))
    TIMES.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = MACHINE.sub(minutes(seconds), notebook.cells[0].source)
    nbformat.write(notebook, path)


def minutes(seconds: float) -> str:
    """A time as a lesson states it."""
    whole = math.ceil(seconds / 60)
    return f"about {whole} minute{'s' * (whole > 1)} on two CPU cores"


def smaller(encoded: str) -> str:
    """A PNG in base64, with a palette where it has few colours."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    if image.getcolors(FEW) is not None:
        image = image.quantize(256)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return min(encoded, base64.b64encode(stream.getvalue()).decode(), key=len)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", type=Path, help="notebooks (default: all)")
    parser.add_argument("--keep-times", action="store_true", help="do not write how long it took")
    os.environ["REPRE_LITE_SIZE"] = "laptop"
    os.environ.pop("MPLBACKEND", None)  # figures belong into the notebook
    given = parser.parse_args()
    for path in given.lessons or sorted((HERE / "notebooks").glob("[0-9]*.ipynb")):
        seconds = execute(path)
        if not given.keep_times:
            record(path, seconds)


if __name__ == "__main__":
    main()
