"""A table at a scale: its lines under several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..recipes import FIELDS, SCALES, Recipe, recipe
from ..runtime.errors import UserError
from .ablations import NOTE as ABLATIONS_NOTE
from .ablations import ablations
from .cells import TABLES, Cell, Table, primary
from .layouts import ENCODERS, LAYOUTS, Namer

SEEDS = 3
OURS = ("local", "ablations")  # whose runs are those of the primary protocol, with names of their own


def table(
    name: str,
    scale: str = "scenes",
    seeds: int | None = None,
    size: str | None = None,
    transfer_data: str | None = None,
    **overrides: Any,
) -> Table:
    """The table `name` at a scale, over `seeds` seeds; `overrides` of fields of every recipe, such as `steps`.

    `local` at its scales is the primary protocol, with 8 seeds; others have 3. `ablations` are runs of the same recipe but
    for the choice of a row. `transfer_data`: what tables 2 and 3 transfer to, see `transfer`; None: the scenes. Raises
    UserError for an unknown name or a value out of range.
    """
    if name not in TABLES:
        raise UserError(f"table={name!r}: choose one of {', '.join(TABLES)}")
    if scale not in SCALES:
        raise UserError(f"scale={scale!r}: choose one of {', '.join(SCALES)}")
    if seeds is not None and seeds < 1:
        raise UserError(f"seeds={seeds}: give 1 or more")
    if transfer_data == "":
        raise UserError("transfer_data= is empty; give a folder of images and labels, or leave it out for the scenes")
    fixed = name in OURS and scale in primary()["scales"] and size in (None, primary()["size"])
    if fixed:
        kept = {key: value for key, value in primary()["recipe"].items() if (name, key) != ("ablations", "base_lr")}
        size, overrides = primary()["size"], kept | overrides
        seeds = seeds or (primary()["seeds"] if name == "local" else SEEDS)
    seeds = seeds or SEEDS
    size = size or ("small" if scale == "scenes" else "full")
    namer = Namer(scale, size, "local-" if name in OURS else "")
    title, head, lines, measures, more = (LAYOUTS | {"ablations": ablations})[name](namer)
    if name == "local":
        more["note"] = _note(fixed, size, seeds, overrides)
        more["level"] = primary()["level"]
    else:
        more["note"] = "Exploratory: not part of the primary protocol, which is the table local."
        more["note"] += " " + ABLATIONS_NOTE if name == "ablations" else ""
    if scale != "imagenet1k":
        stand = ", ".join(f"{namer.arch(arch)} for {arch}" for arch in ENCODERS)
        more["note"] += f" These encoders stand in for the paper's: {stand}." * (name not in OURS)
    cells = tuple(
        Cell(
            f"{line.name}-{seed}",
            line.name,
            seed,
            _recipe(scale, size, line.changes, seed, overrides),
            measures,
            line.supervised,
            transfer_data,
        )
        for seed in range(seeds)  # seed by seed, so that what is there is paired
        for line in lines
    )
    return Table(name, title, scale, head, lines, measures, cells, **more)


def _recipe(scale: str, size: str, changes: Mapping[str, Any], seed: int, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe of a cell. Among the changes, `length` multiplies epochs and steps, and `defaults` yield to overrides."""
    values = {**changes.get("defaults", {}), **overrides, **changes, "seed": seed}
    values.pop("defaults", None)
    length = values.pop("length", 1.0)
    if length != 1.0:
        values["epochs"] = max(1, round(length * recipe(scale, values["framework"], size).epochs))
        if values.get("steps"):
            values["steps"] = max(1, round(length * values["steps"]))
    for name in ("method", "encoder"):
        held = overrides.get(name, {}), changes.get(name, {})
        if any(held):
            values[name] = {**held[0], **held[1]}
    return recipe(scale, values.pop("framework"), size, **values)


def _note(fixed: bool, size: str, seeds: int, overrides: Mapping[str, Any]) -> str:
    """Whether the runs of `local` are those of the primary protocol."""
    held = primary()
    kept = held["recipe"].keys()
    changed = [
        f"{name} {overrides[name]}" for name in kept & overrides.keys() if overrides[name] != held["recipe"][name]
    ]
    changed += [f"size {size}"] if size != held["size"] else []
    changed += [f"seeds {seeds}"] if seeds != held["seeds"] else []
    changed += sorted(name for name in overrides.keys() - kept if not FIELDS[name].metadata["how"])
    if not fixed or changed:
        return "Exploratory: not the primary protocol" + f" ({', '.join(sorted(changed))})" * bool(changed) + "."
    return "The primary protocol, fixed before its runs: " + " ".join([*held["rules"], *held["remarks"]])
