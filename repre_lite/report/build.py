"""The report of one or several runs: its sections, and the verb that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..runs import RECIPE, Run, load_run, read_json
from ..runtime import files
from ..runtime.device import set_threads
from ..runtime.errors import UserError
from ..visualize.kit.extra import extra
from .arms import group
from .document import document, filled
from .numbers import curves, diagnosis, environment, recipes, summary
from .visuals import bench, visual_sections


def report(runs: list[str], out: str | None, bench_only: bool = False) -> int:
    """`repre-lite report`: read the runs, write the page, or with `bench_only` one that holds only the bench."""
    if out is None and len(runs) > 1:
        raise UserError("several runs make one page: give its file name, such as out=report.html")
    target = Path(out) if out else Path(runs[0]) / "report.html"
    for folder in runs:
        read_json(Path(folder) / RECIPE)
    if target.suffix != ".html":
        raise UserError(f"out={target}: give a file name that ends in .html")
    if not target.parent.is_dir():
        raise UserError(f"out={target}: the folder {target.parent} does not exist; create it first")
    if not bench_only:
        extra("sklearn.manifold")  # said before the work, not after it
    set_threads()
    make = bench_page if bench_only else page
    files.write_text(target, make([load_run(folder) for folder in runs]))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opens in any browser without network")
    return 0


def page(runs: Sequence[Run]) -> str:
    """The whole page. Runs that differ only in the seed are one arm; the others are compared with the first."""
    arms = group(runs)
    visuals = visual_sections(arms)
    sections = {"Summary": summary(arms)}
    if "Bench" in visuals:
        sections["Bench"] = visuals.pop("Bench")
    sections |= {"Diagnosis": diagnosis(runs), "Curves": curves(arms), **visuals}
    sections |= {"Recipe": recipes(arms), "Environment": environment(runs)}
    recipe, count = runs[0].recipe, f"{len(runs)} run" + "s" * (len(runs) > 1)
    unfinished = [run.folder.name for run in runs if not run.summary.get("finished")]
    lead = f"{count} on {recipe.scale}: " + "; ".join(arm.name for arm in arms) + "."
    lead += f" Not finished: {', '.join(unfinished)}." if unfinished else ""
    title = f"RePre: {arms[0].name}" if len(arms) == 1 else f"RePre: {len(arms)} arms compared"
    return document(title, lead, sections)


def bench_page(runs: Sequence[Run]) -> str:
    """A page with the bench alone. Raises UserError if the page cannot run the networks."""
    arms = group(runs)
    title = f"RePre: {arms[0].name}" if len(arms) == 1 else "RePre: " + ", ".join(arm.name for arm in arms)
    lead = (
        "Encoder and decoder run in this page. Choose an image, open or paint your own, and weigh the taps that the "
        "decoder reads: what does each depth of the encoder hold?"
    )
    return filled(title, lead, "", bench(arms).to_html())
