"""Progress: a bar in a terminal or notebook, plain lines in a file; each line is printed once, not once per process."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tqdm.auto import tqdm

from . import distributed

EVERY = 30.0  # seconds between two plain lines


def say(text: str, quiet: bool = False) -> None:
    """Print a line on standard output, in the main process only."""
    if not quiet and distributed.is_main():
        print(text, flush=True)


class Progress:
    """A progress bar on standard error, used as a context manager.

    If standard error is a terminal or belongs to a notebook, this is tqdm's bar; else a plain line is printed at the
    first update, about every 30 seconds, and at the end. `total`, `initial`: counts of `unit`; work shorter than
    `delay` seconds shows nothing; `leave`: whether a finished bar stays. Silent if `quiet`, and in all processes but
    the main one.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        what: str = "",
        initial: int = 0,
        delay: float = 0.0,
        leave: bool = True,
        quiet: bool = False,
    ) -> None:
        self.total, self.unit, self.what, self.done, self.delay = total, unit, what, initial, delay
        self.quiet = quiet or sys.stderr is None or not distributed.is_main()
        self._bar: Any = None
        if not self.quiet and _interactive():
            self._bar = tqdm(
                total=total, initial=initial, unit=unit, desc=what or None, delay=delay, leave=leave, dynamic_ncols=True
            )
        self._initial, self._start = initial, time.monotonic()
        self._printed: tuple[float, int] | None = None  # time and count of the last plain line
        self._values = ""

    def update(self, count: int = 1) -> None:
        """Advance by `count`."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self.quiet:
            now = time.monotonic()
            if now - (self._start + self.delay if self._printed is None else self._printed[0] + EVERY) >= 0:
                self._print(now)

    def show(self, values: Mapping[str, str]) -> None:
        """Show `values`, already formatted, beside the count from now on."""
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
        self._values = ", ".join(f"{name} {value}" for name, value in values.items())

    def write(self, text: str) -> None:
        """Print a line of its own on standard error without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Finish the bar, or print the last line unless it was printed."""
        if self._bar is not None:
            self._bar.close()
        elif not self.quiet and self.done > self._initial:
            now = time.monotonic()
            shown = self._printed is not None or now - self._start >= self.delay
            if shown and (self._printed is None or self._printed[1] != self.done):
                self._print(now)
        self.quiet = True

    def _print(self, now: float) -> None:
        self._printed = now, self.done
        rate = (self.done - self._initial) / max(now - self._start, 1e-9)
        parts = [f"{self.unit} {self.done:,} of {self.total:,}", f"{rate:,.1f} {self.unit}s/s"]
        parts.append(f"{_duration(now - self._start)} elapsed")
        if rate:
            parts.append(f"{_duration(max(0, self.total - self.done) / rate)} left")
        text = ", ".join(parts + [self._values] * bool(self._values))
        print(f"{self.what}: {text}" if self.what else text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _interactive() -> bool:
    """Whether standard error reaches a person as it is written: a terminal or a notebook, not a file or a pipe."""
    if sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
