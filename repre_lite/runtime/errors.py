"""What ends a command without a crash: an error that the user can correct, and a signal."""

from __future__ import annotations

from typing import Self


class UserError(ValueError):
    """Invalid input. The message is one clear line that names the argument or path and the remedy; the command line exits with 2."""


def first_line(error: Exception) -> str:
    """What an error of another library says, for a message of one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


class NonFiniteError(UserError):
    """A loss, or what follows from it, is not finite; `step` counts from 1, 0 if it happened outside training."""

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step

    @classmethod
    def after(cls, step: int, what: str) -> Self:
        """The error of step `step`, at which `what` not finite ("the loss is")."""
        return cls(
            f"step {step}: {what} not finite, and this step is not saved; train into another out= with a lower lr=, a "
            "larger warmup_epochs= or precision='fp32'",
            step,
        )


class Stopped(Exception):  # noqa: N818  (the run is not in error)
    """Raised after SIGINT or SIGTERM, when the run is saved; resume it by running the same command. `signum` is the signal."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
