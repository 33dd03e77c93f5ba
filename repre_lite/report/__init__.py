"""`repre-lite report`: one or several runs as one HTML page that needs neither kernel nor network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from string import Template

from .. import __version__
from ..runs import RECIPE, Run, load_run, read_json
from ..runtime import files
from ..runtime.device import set_threads
from ..runtime.errors import UserError
from ..visualize.kit.extra import extra
from .arms import group
from .numbers import curves, diagnosis, environment, recipes, summary
from .pieces import text
from .visuals import visual_sections


def report(runs: list[str], out: str | None) -> int:
    """`repre-lite report`: read the runs, write the page."""
    if out is None and len(runs) > 1:
        raise UserError("several runs make one page: give its file name, such as out=report.html")
    target = Path(out) if out else Path(runs[0]) / "report.html"
    for folder in runs:
        read_json(Path(folder) / RECIPE)
    if target.suffix != ".html":
        raise UserError(f"out={target}: give a file name that ends in .html")
    if not target.parent.is_dir():
        raise UserError(f"out={target}: the folder {target.parent} does not exist; create it first")
    extra("sklearn.manifold")  # said before the work, not after it
    set_threads()
    files.write_text(target, page([load_run(folder) for folder in runs]))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opens in any browser without network")
    return 0


def page(runs: Sequence[Run]) -> str:
    """The whole page. Runs that differ only in the seed are one arm; the others are compared with the first."""
    arms = group(runs)
    sections = {"Summary": summary(arms), "Diagnosis": diagnosis(runs), "Curves": curves(arms), **visual_sections(arms)}
    sections |= {"Recipe": recipes(arms), "Environment": environment(runs)}
    names = {name: name.lower().replace(" ", "-") for name in sections}
    body = "\n".join(
        f'<section aria-labelledby="{names[name]}"><h2 id="{names[name]}">{name}</h2>\n{content}\n</section>'
        for name, content in sections.items()
    )
    recipe, count = runs[0].recipe, f"{len(runs)} run" + "s" * (len(runs) > 1)
    unfinished = [run.folder.name for run in runs if not run.summary.get("finished")]
    lead = f"{count} on {recipe.scale}: " + "; ".join(arm.name for arm in arms) + "."
    lead += f" Not finished: {', '.join(unfinished)}." if unfinished else ""
    return Template((package_files(__package__) / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(f"RePre: {arms[0].name}" if len(arms) == 1 else f"RePre: {len(arms)} arms compared"),
        lead=text(lead),
        contents="".join(f'<li><a href="#{slug}">{name}</a></li>' for name, slug in names.items()),
        body=body,
        version=__version__,
    )
