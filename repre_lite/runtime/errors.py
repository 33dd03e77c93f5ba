"""The one error that the user can correct."""


class UserError(ValueError):
    """Bad input. The message is one clear line that names the argument or path and the remedy; the command line exits with 2."""
