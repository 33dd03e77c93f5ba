"""Patch cosine over time and by tap, each arm beside `detached`: does the branch keep the patches of an image apart?

repre-lite reproduce local --scale scenes --out runs/reproduce
python scripts/patch_cosine.py runs/reproduce [--scale scenes] [--out results/patch_cosine.md]

Nothing is trained here: the paired runs of `reproduce local` logged the mean cosine between the patches of an image while
they trained (last tap, the views of the step, the same in all arms of a seed; an arm that hides patches is left out, whose
encoder sees other views), and measured it at every tap at their end, on 512 validation images. The table pairs them by
seed, with a 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repre_lite.reproduce.cells import Cell, Table
from repre_lite.reproduce.folders import folder_of, summary_of
from repre_lite.reproduce.grid import table
from repre_lite.reproduce.statistics import paired, verdict
from repre_lite.runs import METRICS, RECIPE, read_json
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.files import read_jsonl, write_text

MOMENTS = (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)  # of a run


def measured(cell: Cell, out: Path) -> bool:
    """Whether a cell is trained, and its patch cosine measured."""
    return "diversity" in summary_of(cell, out)


def logged(cell: Cell, out: Path) -> list[float]:
    """The patch cosine of the last tap at the logged steps nearest to `MOMENTS`."""
    lines = [line for line in read_jsonl(folder_of(cell, out) / METRICS) if "patch_cosine" in line]
    return [float(min(lines, key=lambda line: abs(line["step"] - step))["patch_cosine"]) for step in moments(cell)]


def moments(cell: Cell) -> list[int]:
    """The steps that are looked at, at least 1."""
    assert cell.recipe.steps is not None
    return [max(1, round(share * cell.recipe.steps)) for share in MOMENTS]


def by_tap(cell: Cell, out: Path) -> list[float]:
    """The patch cosine of every tap at the end of the run, shallow to deep."""
    return [float(value) for value in summary_of(cell, out)["diversity"]["patch_cosine"]]


def rows(
    made: Table, out: Path, values: Callable[[Cell, Path], Sequence[float]]
) -> Iterator[tuple[int, str, list[str]]]:
    """For each place in `values` and arm: the place, the arm, and mean, mean of the base, difference and verdict."""
    held = {
        line.name: {cell.seed: values(cell, out) for cell in made.of(line.name) if measured(cell, out)}
        for line in made.lines
    }
    for line in made.lines:
        if line.base is None or not (seeds := sorted(held[line.name].keys() & held[line.base].keys())):
            continue
        for place in range(len(held[line.name][seeds[0]])):
            ours, base = ({seed: held[name][seed][place] for seed in seeds} for name in (line.name, line.base))
            found = paired(ours, base, made.level)
            half = "" if found.half is None else f" ± {found.half:.4f}"
            shown = [f"{sum(each.values()) / len(seeds):.4f}" for each in (ours, base)]
            shown += [f"{found.mean:+.4f}{half}", verdict(found, 0), str(found.n)]
            yield place, line.labels[0], shown


def markdown(made: Table, out: Path) -> str:
    """Both tables as text."""
    steps, base = moments(made.cells[0]), made.lines[0].labels[0]
    head = ["arm", "cosine", base, "difference", "verdict", "pairs"]
    late = [[f"{place + 1}", arm, *shown] for place, arm, shown in rows(made, out, by_tap)]
    whole = replace(made, lines=tuple(line for line in made.lines if not made.of(line.name)[0].recipe.hide))
    early = [[f"{steps[place]}", arm, *shown] for place, arm, shown in rows(whole, out, logged)]
    if not late:
        raise UserError(f"{out} holds no pair of finished runs: run `repre-lite reproduce local` first")
    parts = [
        f"# Patch cosine: each arm minus `{base}`",
        f"MoCo v3, vit_micro, {made.scale}, {made.cells[0].recipe.steps} steps of {made.cells[0].recipe.batch_size} images. "
        f"95 % intervals of the differences, paired by seed. {machine(made, out)} Made by `scripts/patch_cosine.py`.",
        "## By tap, at the end, 512 validation images",
        _text(["tap", *head], late),
        "## Last tap while training, on the views of the step",
        _text(["step", *head], early),
    ]
    return "\n\n".join(parts) + "\n"


def machine(made: Table, out: Path) -> str:
    """Hardware and version of torch of the first run."""
    held: dict[str, Any] = read_json(next(folder_of(cell, out) / RECIPE for cell in made.cells if measured(cell, out)))
    return f"{held['hardware']}, torch {held['versions']['torch']}."


def _text(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Parse the options, read the runs, write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the --out of `repre-lite reproduce local`")
    parser.add_argument("--scale", choices=("scenes", "cifar10"), default="scenes")
    parser.add_argument("--out", type=Path, default=Path("results/patch_cosine.md"))
    options = parser.parse_args()
    text = markdown(table("local", options.scale), options.folder)
    write_text(options.out, text)
    print(text)


if __name__ == "__main__":
    main()
