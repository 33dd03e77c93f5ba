"""The one error that is the user's to mend."""


class UserError(Exception):
    """Bad input. The message is one clear line that names the option or path and the remedy; the CLI exits with 2."""
