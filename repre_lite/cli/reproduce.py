"""The options of `repre-lite reproduce`; imports no torch."""

from __future__ import annotations

import argparse
from typing import Any

from ..recipes import FIELDS, SCALES, kinds
from ..recipes.recipe import SIZES
from ..reproduce.cells import TABLES
from .options import add_settings

# settings that every table leaves open
OPEN = ("device", "images", "workers", "activation_checkpointing", "skip_unreadable", "max_pixels")


def add_reproduce(verbs: Any) -> None:
    """Add the verb to `verbs`, the subparsers of the command line. Options that are not given leave the recipes alone."""
    parser = verbs.add_parser("reproduce", help="the paper's tables, and ours, as paired runs over seeds")
    recipe: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("name", metavar="TABLE", choices=TABLES, help=f"one of {', '.join(TABLES)}")
    parser.add_argument("--scale", choices=tuple(SCALES), default="scenes", help="the recipes (default scenes)")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="seeds, one run of each line per seed (default 8 for local, else 3)"
    )
    parser.add_argument("--only", metavar="CELLS", help="pattern of cell names, such as '*moby*' (default: all)")
    parser.add_argument(
        "--out",
        default="runs/reproduce",
        metavar="FOLDER",
        help="folder for the run folders, cells/NAME, and for TABLE-SCALE.md, .csv, .html and .cells.csv (default runs/reproduce)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="cells to run at the same time, spread over the GPUs; on a CPU each uses one thread (default 1)",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the cells and what they cost (default no)")
    parser.add_argument(
        "--size",
        choices=SIZES,
        help="small: the CPU-sized version of the scale (default for scenes, and for local and ablations with cifar10)",
        **recipe,
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="optimiser steps of a run (default: 300 for local and ablations with scenes and cifar10, else the scale decides)",
        **recipe,
    )
    parser.add_argument(
        "--train-images",
        type=int,
        metavar="N",
        help="use only this many training images (default: the scale decides)",
        **recipe,
    )
    parser.add_argument("--data", metavar="FOLDER", help="images (default: drawn, found or downloaded)", **recipe)
    parser.add_argument(
        "--transfer-data",
        metavar="FOLDER",
        help="images that tables 2 and 3 transfer to, as for the verb transfer (default: the scenes)",
        **recipe,
    )
    add_settings(parser, {name: FIELDS[name] for name in OPEN}, kinds(), ())
    parser.set_defaults(run="repre_lite.reproduce.command:reproduce")
