"""Training with labels that is not finished, kept in a folder, so that the same command resumes it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..runtime import distributed, files
from ..runtime.errors import Stopped, UserError
from ..runtime.progress import Progress, say
from ..runtime.stopping import agreed, collected_signals, steps_between

EVERY = 600.0  # seconds between two saves


@dataclass
class Keeper:
    """Where training is kept: in `folder`, or nowhere if that is None. `paths`: the files in use."""

    folder: Path | None = None
    paths: list[Path] = field(default_factory=list)

    def kept(self, name: str, what: Callable[[], str], parts: Mapping[str, Any]) -> Kept:
        """The training `name` of `parts`, each with a `state_dict`.

        `what` names all that decides the result. Its hash is in the file's name: training on other images, say, begins
        anew and leaves the file of this one alone.
        """
        if self.folder is None:
            return Kept(name, None, parts)
        digest = hashlib.sha256(f"{__version__}/{what()}".encode()).hexdigest()
        self.paths.append(self.folder / f"{name}-{digest[:8]}.pt")
        return Kept(name, self.paths[-1], parts)

    def forget(self) -> None:
        """Remove the files, once the results are written elsewhere."""
        if distributed.is_main():
            for path in self.paths:
                path.unlink(missing_ok=True)
        self.paths.clear()


class Kept:
    """One training. `step`: how many steps are done; `result`: what it led to, None if it is not finished.

    It is saved every ten minutes, at its end, and after SIGINT or SIGTERM; never if `path` is None.
    """

    def __init__(self, name: str, path: Path | None, parts: Mapping[str, Any]) -> None:
        self.name, self.path, self.parts = name, path, parts
        self.step = 0
        self.result: float | None = None
        if path is None or not path.exists():
            return
        try:
            held = files.load_checkpoint(path)
        except UserError:
            say(f"{path}: cannot be read, so {name} begins anew")
            return
        self.step, self.result = held["step"], held["result"]
        for part, state in held["parts"].items():
            parts[part].load_state_dict(state)

    @contextmanager
    def steps(self, total: int, device: torch.device) -> Iterator[Iterator[int]]:
        """The steps that are left, counted from 0, under a progress bar. Raises Stopped after a signal, when all is saved."""
        none: list[int] = []
        signals: AbstractContextManager[list[int]] = nullcontext(none) if self.path is None else collected_signals()
        bar = Progress(total, "step", self.name, initial=self.step, delay=2, leave=False)
        if 0 < self.step < total:
            say(f"{self.name}: resuming at step {self.step} of {total}")
        with signals as received, bar:
            yield self._each(total, device, received, bar)

    def _each(self, total: int, device: torch.device, received: Sequence[int], bar: Progress) -> Iterator[int]:
        saved = looked = time.perf_counter()
        first, together = self.step, self.step + 1  # the step at which several processes agree to stop
        for step in range(self.step, total):
            yield step
            bar.update()
            self.step = step + 1
            if self.path is None:
                continue
            now = time.perf_counter()
            stop = agreed(received, device, self.step == together) if self.step < total else 0
            if self.step == together:
                together += steps_between((self.step - first) / (now - looked), device)
                first, looked = self.step, now
            if stop or self.step == total or now - saved > EVERY:
                self._save({name: part.state_dict() for name, part in self.parts.items()})
                saved = time.perf_counter()
            if stop:
                raise Stopped(
                    f"{self.name} stopped at step {self.step} of {total} and saved; resume by running the same command",
                    stop,
                )

    def finish(self, result: float) -> float:
        """Keep the `result` alone, and return it."""
        self.result = result
        if self.path is not None:
            self._save({})
        return result

    def _save(self, parts: Mapping[str, Any]) -> None:
        if distributed.is_main():
            assert self.path is not None
            files.save_checkpoint(self.path, {"step": self.step, "result": self.result, "parts": parts})
