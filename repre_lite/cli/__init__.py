"""The command line, `repre-lite VERB`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..runtime.errors import UserError
from .options import in_options
from .parser import build_parser

# How long a thread of OpenMP spins before it sleeps, read when torch is loaded. By default it spins while it waits for a
# sibling that another program keeps from running: two threads on a busy machine then train several times slower than one.
PATIENCE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit status: 0; 2 for invalid input; 128 + signal if stopped; 1 for a crash."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        parser = build_parser()
        parsed, more = parser.parse_known_args(arguments)
        options = vars(parsed)
        if options.pop("verb") == "lab":  # options for JupyterLab
            options["more"] = more
        elif more:
            parser.error(f"unrecognized arguments: {' '.join(more)}")
        module, function = options.pop("run").split(":")
        return int(getattr(import_module(module), function)(**options) or 0)
    except UserError as error:
        print(f"repre-lite: {in_options(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
