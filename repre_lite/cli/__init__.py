"""The command line, `repre-lite VERB`."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from ..runtime.errors import Stopped, UserError
from ..runtime.text import plain_text
from .options import for_verb, in_options
from .parser import build_parser

# How long a thread of OpenMP spins before it sleeps, read when torch is loaded. By default it spins while it waits for a
# sibling that another program keeps from running: two threads on a busy machine then train several times slower than one.
PATIENCE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}

REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)  # what a system says of paths it does not let one use

SHARED = ("pretrain", "evaluate", "transfer", "reproduce")  # the verbs that several processes do together


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit status: 0; 2 for invalid input; 128 + signal if stopped; 1 for a crash.

    Of several processes that torchrun started, the main one prints.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module="PIL")  # of metadata and large images; they name no file
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of folders may hold what its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if _launched():
            from ..runtime.together import together

            return together(lambda: _run(arguments), _say)
        return _run(arguments)
    except UserError as error:
        _say(str(error))
        return 2
    except Stopped as stop:
        if not _launched() or _is_first():
            print(stop, file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    parsed, more = parser.parse_known_args(arguments)
    options = vars(parsed)
    verb = options.pop("verb")
    if verb == "lab":  # options for JupyterLab
        options["more"] = more
    elif more:
        raise UserError(f"unrecognized arguments: {' '.join(more)}; see repre-lite {verb} --help")
    if _launched() and verb not in SHARED:
        if not _is_first():
            return 0
        os.environ["WORLD_SIZE"] = "1"  # the others do not take part
    module, function = options.pop("run").split(":")
    work = getattr(import_module(module), function)
    try:
        return int(work(**options) or 0)
    except UserError as error:
        if (message := for_verb(str(error), verb)) == str(error):
            raise
        raise UserError(message) from None
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}; give a path that you may use") from None


def _launched() -> bool:
    """Whether torchrun started this process as one of several; as `runtime.distributed.launched`, without torch."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _say(message: str) -> None:
    print(f"repre-lite: {plain_text(in_options(message))}", file=sys.stderr)  # one line, whatever a name holds
