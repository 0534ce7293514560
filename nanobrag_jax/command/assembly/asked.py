"""What a command line asks for, as the assembly of an experiment looks it up."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..flags import FLAGS, Settings

_VECTORS = frozenset(flag.setting for flag in FLAGS if flag.kind == "vector")


@dataclass(frozen=True)
class Asked:
    """Settings as given, else from the header of an image, else the flag's default: `asked("distance_mm")`.

    A vector counts with the CUSTOM convention only; with another it is None.

    **Arguments:**

    - `settings`: what the flags say;
    - `place`: where relative file names start;
    - `headers`: what headers of images say, by the settings' names;
    - `notes`: what to tell the user; added to.
    """

    settings: Settings
    place: Path
    headers: Mapping[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> Any:
        value = self.settings.values.get(name, self.headers.get(name))
        if name in _VECTORS and self("convention") != "CUSTOM":
            return None
        return self.settings.get(name) if value is None else value

    def __contains__(self, name: str) -> bool:
        """Whether a flag gives it."""
        return name in self.settings

    def flag_of(self, name: str) -> str | None:
        """The flag, as typed, that set `name` last; None if none did."""
        return self.settings.flag_of(name)

    def note(self, sentence: str | None) -> None:
        """Keep a sentence for the user, if there is one."""
        if sentence:
            self.notes.append(sentence)

    @contextlib.contextmanager
    def about(self, *names: str) -> Iterator[None]:
        """Put the flags that set `names`, with the numbers given, in front of an error."""
        try:
            yield
        except InputError as error:
            given = [name for name in names if name in self]
            words = [f"{self.flag_of(n)}" + ("" if n.endswith("_path") else f" {self(n):g}") for n in given]
            raise InputError(f"{', '.join(dict.fromkeys(words))}: {error}" if words else str(error)) from None
