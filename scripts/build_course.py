"""Write all editions of the course from `notebooks/`: the student's, the hosted one, and static HTML.

python scripts/build_course.py --out course [--address https://HOST/OWNER/repre-lite.git] [--runs RUN ...]

course/html/index.html is the whole course from disk, without network or kernel, with a bench on which trained models run
in the browser: those of `--runs`, else the package's own. course/student/ holds the lessons without solutions and outputs, course/hosted/ those that install the
package themselves, course/source/ the files that the lessons link to.
"""

from __future__ import annotations

import argparse
import shutil
import tomllib
from pathlib import Path

import nbformat
from packaging.requirements import Requirement

from repre_lite.course import editions
from repre_lite.course.artefacts import artefact
from repre_lite.course.artefacts import names as artefact_names
from repre_lite.report import bench_page
from repre_lite.runs import Run, load_run

HERE = Path(__file__).resolve().parent.parent
PLACEHOLDER = "https://ADDRESS-OF-THE-REPOSITORY/repre-lite.git"
TO_THE_COURSE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=html/index.html">'
    '<title>The course</title><a href="html/index.html">The course</a></html>\n'
)
KEPT = {"torch", "torchvision", "jupyterlab"}  # what a host has already


def project() -> dict:
    return tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def address() -> str:
    """Where the package is installed from: the Repository of pyproject.toml."""
    return project()["urls"].get("Repository", PLACEHOLDER)


def packages() -> list[str]:
    """What a hosted notebook installs beside the package."""
    wanted = [*project()["dependencies"], *project()["optional-dependencies"]["notebooks"]]
    return [line for line in wanted if Requirement(line).name not in KEPT]


def build(out: Path, where: str, more: str = "") -> list[Path]:
    """Write the editions of all lessons below `out`; returns the files."""
    sources = sorted((HERE / "notebooks").glob("[0-9][0-9]*.ipynb"))
    books = {path: editions.read(path) for path in sources}
    lessons = [editions.describe(path, book) for path, book in books.items()]
    names, written = {path.name for path in sources}, []
    for folder in ("html", "student", "hosted", "source"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    def beside(target: str) -> str:
        """A link as it is between editions: other lessons where they are, files in source/ as text."""
        return (
            target
            if target in names
            else f"../source/{target.removeprefix('../')}{'' if Path(target).suffix == '.md' else '.txt'}"
        )

    for (path, book), lesson in zip(books.items(), lessons, strict=True):
        for target in set(editions.links(book)) - names:
            copy = out / "html" / beside(target)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile((path.parent / target).resolve(), copy)
        student = editions.without_solutions(editions.linked(book, beside))
        files = {
            out / "student" / path.name: nbformat.writes(student),
            out / "hosted" / path.name: nbformat.writes(editions.hosted(book, where, packages())),
            out / "html" / f"{path.stem}.html": editions.page(book, lesson, lessons, beside),
        }
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
            written.append(file)
        print(lesson.number, lesson.title, flush=True)
    (out / "html" / "index.html").write_text(editions.index(lessons, more), encoding="utf-8")
    return [*written, out / "html" / "index.html"]


def bench(out: Path, runs: list[Run]) -> str:
    """Write the bench of these runs; returns the index's line about it, empty without runs."""
    if not runs:
        return ""
    (out / "html").mkdir(parents=True, exist_ok=True)
    (out / "html" / "bench.html").write_text(bench_page(runs), encoding="utf-8")
    return '<p><a href="bench.html">The bench</a>: trained models, live on this page.</p>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("course"), help="folder to write (default course)")
    parser.add_argument("--address", default=address(), help="public git address of the package")
    parser.add_argument("--runs", type=Path, nargs="+", help="run folders of the bench (default: the package's runs)")
    given = parser.parse_args()
    if given.address == PLACEHOLDER:
        print(f"pyproject.toml names no Repository: hosted notebooks install from {PLACEHOLDER}; give --address")
    runs = [load_run(path) for path in given.runs] if given.runs else [artefact(name) for name in artefact_names()]
    build(given.out, given.address, bench(given.out, runs))
    (given.out / "index.html").write_text(TO_THE_COURSE, encoding="utf-8")
    print(f"open {given.out / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
