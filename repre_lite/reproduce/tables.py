"""A table from the summaries of its cells: Markdown, CSV and one HTML page.

Our values with their spread over seeds, the difference to the line they are compared with, paired by seed, with its
interval, the paper's difference beside it, and a verdict in words if there are eight pairs or more (primary.json); fewer
are exploratory: a difference with its interval, and no claim. The paper's own values are shown at `imagenet1k` only:
elsewhere images and encoders differ, so no value is comparable.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.naming import named
from ..report.document import Section, document
from ..report.pieces import table as html_table
from ..report.pieces import text
from ..runs import RECIPE, read_json
from ..runtime import files
from . import paper
from .cells import Line, Table, primary
from .folders import BROKEN, done, folder_of, summary_of
from .measures import MEASURES, TRANSFERRED, missing
from .statistics import Paired, deviation, paired, verdict

NONE = "–"
EXPLORATORY = "exploratory"


@dataclass(frozen=True)
class Result:
    """A line of a table by one measure. `values` by seed; `found`: the paired difference to the line's base, None if it has
    none; `paper` and `reported`: the paper's value and difference, in the unit of the paper; `doubt`: about them."""

    measure: str
    line: Line
    values: dict[int, float]
    found: Paired | None
    verdict: str
    paper: float | None
    reported: float | None
    doubt: str


def results(table: Table, out: Path) -> list[Result]:
    """Every line by every measure that any cell of the table has."""
    summaries = {cell.name: summary_of(cell, out) for cell in table.cells}
    held = []
    for measure in table.measures:
        values = {
            line.name: {
                cell.seed: float(value)
                for cell in table.of(line.name)
                if (value := summaries[cell.name].get(measure)) is not None and BROKEN not in summaries[cell.name]
            }
            for line in table.lines
        }
        if any(values.values()):
            held += [_result(table, measure, line, values) for line in table.lines]
    return held


def _result(table: Table, measure: str, line: Line, values: dict[str, dict[int, float]]) -> Result:
    found = paired(values[line.name], values[line.base], table.level) if line.base is not None else None
    said = "" if found is None or not found.n else _said(found, measure)
    place, base = line.paper.get(measure, (None, None))
    value = paper.NUMBERS[place].value if place is not None and table.scale == "imagenet1k" else None
    reported, doubt = paper.difference(place, base) if place is not None and base is not None else (None, "")
    if place is not None and base is None and value is not None:
        doubt = paper.NUMBERS[place].doubt
    return Result(measure, line, values[line.name], found, said, value, reported, doubt)


def _said(found: Paired, measure: str) -> str:
    """The verdict on a difference of as many pairs as primary.json asks for; with fewer it is exploratory."""
    held = primary()
    if found.n < held["seeds"] or measure in held["exploratory"]:
        return EXPLORATORY
    return verdict(found, MEASURES[measure].better)


def write(table: Table, out: Path, figure: str = "") -> list[Path]:
    """Write the table into `out` as .md, .csv, .html and, run by run, .cells.csv, each atomically; `figure`: HTML that
    comes after it."""
    held = results(table, out)
    contents = {
        "md": markdown(table, held, out),
        "csv": as_csv(table, held),
        "html": html(table, held, out, figure),
        "cells.csv": cells_csv(table, out),
    }
    paths = [out / f"{table.stem}.{suffix}" for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        files.write_text(path, content)
    return paths


def markdown(table: Table, held: Sequence[Result], out: Path) -> str:
    """The table in Markdown, one for each measure."""
    parts = [f"# {table.title}", table.note]
    doubts = _doubts(held)
    for measure in dict.fromkeys(result.measure for result in held):
        head, rows = _layout(table, [result for result in held if result.measure == measure], doubts)
        lines = [head, ["---"] * len(head), *rows]
        parts.append(f"## {MEASURES[measure].label}")
        parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
    parts.append("\n".join(f"- {note}" for note in notes(table, held, out)))
    return "\n\n".join(part for part in parts if part) + "\n"


def html(table: Table, held: Sequence[Result], out: Path, figure: str = "") -> str:
    """The table as a page that needs no network."""
    doubts, images = _doubts(held), " and ".join(_images(table, out)) or table.scale
    sections = []
    for measure in dict.fromkeys(result.measure for result in held):
        head, rows = _layout(table, [result for result in held if result.measure == measure], doubts)
        label = MEASURES[measure].label
        sections.append(Section(label, html_table(f"{label}, {images}", head, rows)))
    if figure:
        sections.append(Section("Figure", figure))
    listed = "".join(f"<li>{text(note)}</li>" for note in notes(table, held, out))
    sections.append(Section("Notes", f"<ul>{listed}</ul>"))
    return document(table.title, table.note, sections)


def as_csv(table: Table, held: Sequence[Result]) -> str:
    """One line for each line and measure, numbers as they are: fractions and losses, the paper's in per cent."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["measure", *table.head, "cells", "seeds", "mean", "std", "pairs", "difference", "low", "high", "verdict",
                     "paper", "paper_difference", "paper_doubt"])  # fmt: skip
    for result in held:
        values, found = list(result.values.values()), result.found
        mean = None if found is None else found.mean
        half = None if found is None else found.half
        writer.writerow([
            result.measure, *result.line.labels, result.line.name, len(values),
            _plain(statistics.fmean(values) if values else None),
            _plain(deviation(values)),
            "" if found is None else found.n, _plain(mean),
            _plain(None if mean is None or half is None else mean - half),
            _plain(None if mean is None or half is None else mean + half),
            result.verdict, _plain(result.paper), _plain(result.reported), result.doubt,
        ])  # fmt: skip
    return stream.getvalue()


def cells_csv(table: Table, out: Path) -> str:
    """One line for each trained cell: what was measured of its run, and the seconds that it trained."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    measures = [key for key in table.measures if key in MEASURES]
    writer.writerow(["cell", "seed", *measures, "training_seconds"])
    for cell in table.cells:
        found = summary_of(cell, out)
        if found.get("finished") and BROKEN not in found:
            writer.writerow([cell.name, cell.seed, *(_plain(found.get(key)) for key in (*measures, "wall_seconds"))])
    return stream.getvalue()


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _layout(table: Table, held: Sequence[Result], doubts: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of one measure."""
    kind = MEASURES[held[0].measure].kind
    ours = ["without", "with RePre"] if table.beside else ["ours"]
    theirs = any(result.paper is not None for result in held)
    reported = any(result.line.paper.get(result.measure) for result in held)
    printed = [f"paper: {name}" for name in ours] if table.beside else ["paper"]
    head = [*table.head, *ours, *(printed if theirs else []), "difference"]
    head += ["paper: difference"] * reported + ["verdict", "seeds"]
    by_name = {result.line.name: result for result in held}
    rows = []
    for result in held:
        if table.beside and result.line.base is None:
            continue
        shown = [by_name[result.line.base], result] if table.beside and result.line.base else [result]
        row = [*result.line.labels, *(_mean(each.values, kind) for each in shown)]
        row += [_printed(each, doubts) for each in shown if theirs]
        row.append(_difference(result.found, kind))
        row += [_reported(result, doubts)] * reported
        seeds = result.found.n if result.found is not None and result.found.n else len(result.values)
        rows.append([*row, result.verdict or NONE, str(seeds)])
    return head, rows


def _number(value: float, kind: str, sign: str = "", unit: bool = True) -> str:
    """A value as its measure is written: fractions in per cent, their differences in points."""
    if kind == "%":
        return f"{100 * value:{sign}.{2 if sign else 1}f}" + (" %" if unit and not sign else "")
    return f"{value:{sign}{kind}}"


def _mean(values: dict[int, float], kind: str) -> str:
    """ "51.2 % ± 1.3" of several seeds, "51.2 %" of one, a dash of none."""
    if not values:
        return NONE
    mean, spread = _number(statistics.fmean(values.values()), kind), deviation(values.values())
    return mean + ("" if spread is None else f" ± {_number(spread, kind, unit=False)}")


def _difference(found: Paired | None, kind: str) -> str:
    """ "+0.7 [-0.2, +1.6]", or without interval, or a dash."""
    if found is None or found.mean is None:
        return NONE
    if found.half is None:
        return _number(found.mean, kind, "+")
    low, high = (_number(found.mean + side * found.half, kind, "+") for side in (-1, 1))
    return f"{_number(found.mean, kind, '+')} [{low}, {high}]"


def _doubts(held: Iterable[Result]) -> list[str]:
    """The doubts about the paper's differences, in the order of their marks."""
    return list(dict.fromkeys(result.doubt for result in held if result.doubt))


def _printed(result: Result, doubts: list[str]) -> str:
    """The paper's value; with a mark if it is doubtful and there is no difference beside it to carry the mark."""
    if result.paper is None:
        return NONE
    marked = result.doubt and result.reported is None
    return f"{result.paper:g}" + (f" ({doubts.index(result.doubt) + 1})" if marked else "")


def _reported(result: Result, doubts: list[str]) -> str:
    """The paper's difference, with a mark if it is doubtful."""
    shown = result.reported
    value = NONE if shown is None else f"{shown:+.{1 if shown == round(shown, 1) else 2}f}"
    return value + (f" ({doubts.index(result.doubt) + 1})" if result.doubt else "")


def notes(table: Table, held: Sequence[Result], out: Path) -> list[str]:
    """What a reader must know beside the numbers."""
    finished = sum(done(cell, out) for cell in table.cells)
    seeds = len({cell.seed for cell in table.cells})
    said = [
        f"{finished} of {len(table.cells)} cells are finished: {len(table.lines)} lines, {seeds} seed{'s' * (seeds > 1)}."
    ]
    if held:
        said.append(
            "Ours: mean ± standard deviation over seeds. Difference: paired by seed, with the "
            f"{100 * table.level:.0f} % interval of its mean (Student's t); accuracies in points. A difference whose interval "
            "contains 0 is not a gain. Intervals are not corrected for the number of comparisons."
        )
    if any(result.verdict == EXPLORATORY for result in held):
        said.append(
            f"Exploratory: fewer than {primary()['seeds']} pairs, or a measure that primary.json lists as exploratory. "
            "The interval shows how precisely the difference is known; no claim is made."
        )
    if any(result.line.paper for result in held):
        said.append("Paper: Wang et al., RePre (IJCAI 2022), pre-trained on ImageNet-1K; it prints no spread.")
    said += [f"({number}) {doubt}" for number, doubt in enumerate(_doubts(held), 1)]
    said += [f"{MEASURES[key].label}: left out, {why}" for key, why in missing(table.measures).items()]
    data = sorted({str(at) for cell in table.cells if (at := summary_of(cell, out).get(TRANSFERRED))})
    said += [f"Segmentation and detection were learned on {' and '.join(data)}."] * bool(data)
    if any(cell.supervised and cell.recipe.image_size == 224 for cell in table.cells):
        said.append("Supervised: timm's encoders, trained on all of ImageNet-1K with labels.")
    said += _provenance(table, out)
    for cell in table.cells:
        if broken := summary_of(cell, out).get(BROKEN):
            said.append(f"{cell.name} failed: {broken}")
    return said


def _provenance(table: Table, out: Path) -> list[str]:
    """Machine, versions and images of the trained cells, each combination once."""
    said = []
    for cell in table.cells:
        path = folder_of(cell, out) / RECIPE
        if not path.exists():
            continue
        held = read_json(path)
        commit = (held.get("git_commit") or "")[:12]
        said.append(
            f"Made on {held['hardware']} in {held['precision_used']}, torch {held['versions']['torch']}, repre-lite "
            f"{held['versions']['repre_lite']}{f' at {commit}' * bool(commit)}, {held['image_count']:,} training images of "
            f"{named(cell.recipe.scale, held.get('origin'))} ({held.get('origin') or 'origin not recorded'})."
        )
    return list(dict.fromkeys(said))


def _images(table: Table, out: Path) -> list[str]:
    """The names of the images of the trained cells."""
    paths = [(cell.recipe.scale, folder_of(cell, out) / RECIPE) for cell in table.cells]
    found = (named(scale, read_json(path).get("origin")) for scale, path in paths if path.exists())
    return list(dict.fromkeys(found))
