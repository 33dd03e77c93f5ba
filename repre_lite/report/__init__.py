"""`repre-lite report`: one or several runs as one HTML page that needs neither kernel nor network.

Names are imported when first used, so that tables can be made without what figures need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy

_HOME = {"bench_page": "build", "page": "build", "report": "build"}

if TYPE_CHECKING:
    from .build import bench_page as bench_page
    from .build import page as page
    from .build import report as report


__getattr__, __dir__ = lazy(__name__, _HOME)
