"""The command line, `repre-lite VERB`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from ..runtime.errors import UserError
from .options import in_options
from .parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit status: 0; 2 for invalid input; 128 + signal if stopped; 1 for a crash."""
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
