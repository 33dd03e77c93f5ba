"""The contrastive frameworks, one file each, under one protocol (`base.Framework`).

To add one, write `frameworks/NAME.py` with a subclass of `Framework` and enter NAME and the class below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..runtime.errors import UserError
from ..runtime.lazy import lazy

if TYPE_CHECKING:
    from ..encoder import TappedEncoder
    from .base import Contrast, Framework, Row

FRAMEWORKS = {
    "simclr": "SimCLR",
    "byol": "BYOL",
    "simsiam": "SimSiam",
    "moco_v2": "MoCoV2",
    "moco_v3": "MoCoV3",
    "moby": "MoBY",
    "dino": "DINO",
    "none": "ReconstructionOnly",
}

__all__ = ["FRAMEWORKS", "Contrast", "Framework", "Row", "build_framework", "framework_class", "table"]


def framework_class(name: str) -> type[Framework]:
    """The class of the framework called `name`. Raises UserError for an unknown name."""
    if name not in FRAMEWORKS:
        raise UserError(f"framework={name!r}: choose one of {', '.join(FRAMEWORKS)}")
    found: type[Framework] = getattr(import_module(f".{name}", __name__), FRAMEWORKS[name])
    return found


def build_framework(name: str, encoder: TappedEncoder, **options: Any) -> Framework:
    """The framework called `name` around `encoder`; `options` go to its constructor (widths, temperature, ...)."""
    return framework_class(name)(encoder, **options)


def table() -> str:
    """The comparison table in Markdown, one line for each framework."""
    rows = {name: row for name in FRAMEWORKS if (row := framework_class(name).row) is not None}
    names = ["framework", *(name.replace("_", " ") for name in next(iter(rows.values()))._fields)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join([f"`{name}`", *row]) + " |" for name, row in rows.items()]
    return "\n".join(lines)


__getattr__, __dir__ = lazy(__name__, {"Contrast": "base", "Framework": "base", "Row": "base"}, own=__all__)
