"""The report of one or several runs: its sections, and the verb that writes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..runs import RECIPE, Run, load_run, read_json
from ..runtime import files
from ..runtime.device import set_threads
from ..runtime.errors import UserError
from ..visualize.bench import SNAPSHOT_BYTES
from ..visualize.curves import Curves
from ..visualize.kit.extra import extra
from ..visualize.kit.viewer import page_script
from .answer import answer, kicker, lead, title
from .arms import group
from .document import Section, document, filled, fold_script
from .numbers import environment, recipes, summary
from .visuals import INVITATION, bench, visual_sections


def report(runs: list[str], out: str | None, bench_only: bool = False) -> int:
    """`repre-lite report`: read the runs, write the page, or with `bench_only` one that holds only the bench."""
    if out is None and len(runs) > 1:
        raise UserError("several runs share one page; give its file name, such as out=report.html")
    target = Path(out) if out else Path(runs[0]) / "report.html"
    for folder in runs:
        read_json(Path(folder) / RECIPE)
    if target.suffix != ".html":
        raise UserError(f"out={target}: give a file name that ends in .html")
    if not target.parent.is_dir():
        raise UserError(f"out={target}: the folder {target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK):
        raise UserError(f"out={target}: the folder {target.parent} is not writable; choose another out=")
    if not bench_only:
        extra("sklearn.manifold")  # said before the work, not after it
    set_threads()
    make = bench_page if bench_only else page
    files.write_text(target, make([load_run(folder) for folder in runs]))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opens in any browser without network")
    return 0


def page(runs: Sequence[Run]) -> str:
    """The whole page: the answer, what can be tried, curves, and the rest to be opened. Runs that differ only in the seed
    are one arm; the others are compared with the first."""
    arms = group(runs)
    first, *others = visual_sections(arms)
    shown = Curves.compute({arm.short: [run.metrics for run in arm.runs] for arm in arms})
    curves = shown.to_html(script=False) if shown.panels else "<p>Nothing has been logged yet.</p>"
    sections = [
        Section("Result", answer(arms), quiet=True),
        first,
        Section("Curves", curves),
        *others,
        Section("All measures", summary(arms), "Every number of every run, with differences paired by seed"),
        Section("Recipe", recipes(arms), "Every setting that decides what a run computes"),
        Section("Environment", environment(runs), "Machine, software and images"),
    ]
    return document(title(arms), lead(arms), sections, kicker(arms), page_script() + fold_script())


def bench_page(runs: Sequence[Run], snapshot_bytes: int = SNAPSHOT_BYTES) -> str:
    """A page with the bench alone, its snapshots in at most `snapshot_bytes`; 0: without them.

    Raises UserError if the page cannot run the networks.
    """
    arms = group(runs)
    main = f'<section><h2 class="hidden">Bench</h2>\n{bench(arms, snapshot_bytes).to_html()}</section>'
    return filled(title(arms), kicker(arms), INVITATION, "", main)
