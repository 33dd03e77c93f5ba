"""The paper's tables as commands: its numbers as data, paired runs over seeds, statistics, and tables of both.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy

_HOME = {
    "reproduce": "command",
    "table": "grid",
    "run_cells": "runner",
    "paired": "statistics",
    "verdict": "statistics",
}

if TYPE_CHECKING:
    from .command import reproduce as reproduce
    from .grid import table as table
    from .runner import run_cells as run_cells
    from .statistics import paired as paired
    from .statistics import verdict as verdict


__getattr__, __dir__ = lazy(__name__, _HOME)
