"""What a user is told when an input cannot be used."""

LONGEST = 300
"""Characters of a message."""
_END = 100


class InputError(ValueError):
    """An input that cannot be used: one sentence that names the thing, its value and what is allowed.

    Whatever a file has put into it, it is one line of printable characters, cut in the middle where it is too long.
    """

    def __init__(self, message: str = ""):
        printable = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in str(message))
        if len(printable) > LONGEST:
            printable = f"{printable[: LONGEST - _END - 3]} … {printable[-_END:]}"
        super().__init__(printable)


class ExperimentWarning(UserWarning):
    """A number of an experiment that has no effect, or too coarse a one."""


class UsageError(InputError):
    """A command line that asks for no simulation: nothing to compute with was given."""
