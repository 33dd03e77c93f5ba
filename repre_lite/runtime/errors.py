"""What ends a command without a crash: an error that the user can correct, and a signal."""


class UserError(ValueError):
    """Bad input. The message is one clear line that names the argument or path and the remedy; the command line exits with 2."""


class Stopped(Exception):  # noqa: N818  (the run is not in error)
    """SIGINT or SIGTERM came and the run was saved; resume it by running the same command. `signum` is the signal."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
