"""What a user is told when an input cannot be used."""

import re

LONGEST = 300
"""Characters of a message."""
_END = 100
_FOLDERS = re.compile(r"/?(?:[^\s'\"/:]+/){2,}")


class InputError(ValueError):
    """An input that cannot be used: one sentence that names the thing, its value and what is allowed.

    Whatever a file has put into it, it is one line of printable characters; where it is too long, folders are left out,
    then its middle.
    """

    def __init__(self, message: str = ""):
        printable = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in str(message))
        if len(printable) > LONGEST:  # the folders first: names of files are what a message is about
            printable = _FOLDERS.sub("…/", printable)
        if len(printable) > LONGEST:
            printable = f"{printable[: LONGEST - _END - 3]} … {printable[-_END:]}"
        super().__init__(printable)


class ExperimentWarning(UserWarning):
    """A number of an experiment that has no effect, or too coarse a one."""


class UsageError(InputError):
    """A command line that asks for no simulation: nothing to compute with was given."""
