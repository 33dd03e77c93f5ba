"""Execute lessons in place, as they are committed: laptop size, outputs small and without anything of this machine.

python scripts/execute_lessons.py notebooks/03_reconstruction_decoder.ipynb [...]    (all lessons if none is named)

Afterwards a notebook has execution counts from 1 to n, only the last line of an exercise's error, no widget state, no times,
and line figures as palette PNGs, which loses nothing with few colours.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
FEW = 4_000  # colours: a line figure with smoothed edges has fewer, an image has more


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
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
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


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
    os.environ["REPRE_LITE_SIZE"] = "laptop"
    os.environ.pop("MPLBACKEND", None)  # figures belong into the notebook
    for path in parser.parse_args().lessons or sorted((HERE / "notebooks").glob("[0-9]*.ipynb")):
        execute(path)


if __name__ == "__main__":
    main()
