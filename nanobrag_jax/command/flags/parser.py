"""From the words of a command line to settings."""

import math
from collections.abc import Sequence
from itertools import takewhile

from ...errors import InputError
from .reading import is_flag, read_value
from .settings import Settings
from .table import find
from .useless import without_effect


def parse(argv: Sequence[str]) -> Settings:
    """What the arguments (without the program's name) ask for; see `Settings`.

    Order matters as in the reference: the last flag wins, each flag that moves the pivot or selects a convention does
    so when it is read, and `-detector_abs inf` forgets the thickness so far. Parsing stops at --help or --version.

    **Raises** `InputError` for unknown flags, missing, stray, malformed and impossible values.
    """
    if isinstance(argv, str):
        raise InputError("flags must be a list of words, got one string: split it, as shlex.split does")
    words = [str(word) for word in argv]
    settings = Settings()
    i = 0
    while i < len(words):
        spelling = words[i]
        if not is_flag(spelling):
            raise InputError(f"{spelling!r} belongs to no flag: a value follows the flag that it is for")
        flag = find(spelling)
        following = list(takewhile(lambda word: not is_flag(word), words[i + 1 :]))
        value, used = read_value(flag, spelling, following, settings.notes)
        if used < len(following):
            raise InputError(f"{following[used]!r} belongs to no flag: {spelling} takes {flag.takes}")
        also = flag.also + ((("detector_thick_um", 0.0),) if value == math.inf else ())
        for name in flag.settings:
            _assign(settings, spelling, name, value)
        for name, implied in also:
            _assign(settings, spelling, name, implied)
        if not flag.settings:
            settings.notes.append(f"{spelling} has no effect")
        i += 1 + used
        if flag.setting in ("help", "version"):
            return settings
    settings.notes.extend(without_effect(settings))
    return settings


def _assign(settings: Settings, spelling: str, name: str, value: object) -> None:
    """Set one setting, with a note when it changes what an earlier flag said (not what one merely implied)."""
    earlier = settings.flag_of(name)
    if earlier and name in find(earlier).settings and settings.values[name] != value and name != "pivot":
        settings.notes.append(f"{spelling} wins over the earlier {earlier} ({name})")
    settings.values[name] = value
    settings.given.append((spelling, name, value))
