"""What a command line asks for."""

from dataclasses import dataclass, field
from typing import Any

from .table import DEFAULTS


@dataclass(frozen=True)
class Settings:
    """What a command line asks for.

    `values`: only what was given, the last one wins. `given`: every (flag as typed, setting, value) in order, side
    effects (pivot, convention, …) included: replaying it makes `values`. `notes`: one sentence for each flag that has
    no effect, was adjusted, or wins over another.
    """

    values: dict[str, Any] = field(default_factory=dict)
    given: list[tuple[str, str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> Any:
        """Value of a setting: as given, else the default of the table (None where there is none).

        **Raises** `KeyError` for a name that is no setting.
        """
        return self.values[name] if name in self.values else DEFAULTS[name]

    def flag_of(self, name: str) -> str | None:
        """The flag, as typed, that set `name` last; None if none did. For messages."""
        return next((flag for flag, setting, _ in reversed(self.given) if setting == name), None)
