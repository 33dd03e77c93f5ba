"""Several processes of one command: an error in one ends all of them and is printed once, without a traceback."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from . import distributed
from .errors import UserError

PATIENCE = 5.0  # seconds that another process gives the main one to say an error
ERROR, SAID = "error", "said"  # what the processes tell each other: the message of another one; that a message is out


def together(work: Callable[[], int], say: Callable[[str], None]) -> int:
    """`work()` in one of several processes, which leaves their group afterwards: its result, or 2 after a UserError of any.

    `say` prints the message of the UserError, in the main process if that notices within a few seconds, otherwise in the one
    that raised it. What a process raises only because another one has ended is not raised again.
    """
    try:
        return work()
    except UserError as error:
        message, store = str(error), _store()
        if distributed.is_main():
            _say_first(store, message, say)
            return 2
        if store is not None:
            store.set(_key(ERROR), message)
    except Exception:
        store = _store()
        found = _failed(store)
        if found is None:
            raise
        message = found
    finally:
        distributed.finish()  # wakes those that wait for this process
    if not distributed.is_main():
        _wait(store)
    _say_first(store, message, say)
    return 2


def _store() -> Any:
    """What torchrun and its processes share; None if it cannot be reached."""
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        with socket.create_connection((host, port), PATIENCE):  # if this fails, the store would log pages
            pass
        return dist.TCPStore(host, port, timeout=timedelta(seconds=PATIENCE))  # type: ignore[attr-defined]
    except (KeyError, ValueError, OSError, RuntimeError):
        return None


def _key(name: str) -> str:
    """The name in the store, another one after every restart by torchrun."""
    return f"repre_lite/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{name}"


def _failed(store: Any) -> str | None:
    """The message of a process that failed, "" if it was said; None if none failed."""
    if store is None:
        return None
    if store.check([_key(ERROR)]):
        return str(store.get(_key(ERROR)).decode())
    return "" if store.check([_key(SAID)]) else None


def _wait(store: Any) -> None:
    """Wait until a message is out, a few seconds at most."""
    if store is not None:
        try:
            store.wait([_key(SAID)], timedelta(seconds=PATIENCE))
        except RuntimeError:  # none is
            return


def _say_first(store: Any, message: str, say: Callable[[str], None]) -> None:
    """Say `message` unless a message is out; without a store every process says its own, rather than none."""
    if store is None or store.add(_key(SAID), 1) == 1:
        say(message)
