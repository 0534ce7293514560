"""One row of the table of flags."""

from collections.abc import Callable
from dataclasses import dataclass

LARGEST_INT = 2**31 - 1

BOUNDS: dict[str, Callable[[float], bool]] = {
    "": lambda x: True,
    "> 0": lambda x: x > 0,
    ">= 0": lambda x: x >= 0,
    ">= 1": lambda x: x >= 1,
    "from -1 to 1": lambda x: -1 <= x <= 1,
    "from 0 to 1": lambda x: 0 <= x <= 1,
    "from 0 to 100": lambda x: 0 <= x <= 100,
    "from -2147483646 to 2147483646": lambda x: abs(x) < LARGEST_INT,
}
SEED = "from -2147483646 to 2147483646"


@dataclass(frozen=True)
class Flag:
    """One row of the table.

    **Arguments:**

    - `names`: spellings, separated by spaces; one that ends in `…` stands for any continuation;
    - `setting`: what it sets, separated by spaces when it sets several to the same value; empty if it has no effect;
    - `kind`: switch, int, float, vector, word, path, or one of cell, misset, depth, image, ignored with
      rules of their own;
    - `unit`; `bounds`: a key of `BOUNDS`; `default`; `help`: one line;
    - `count`: how many numbers;
    - `constant`: what a switch sets;
    - `choices`: the words allowed;
    - `also`: further (setting, value) pairs;
    - `convert`: from the number given to the value of the setting;
    - `off_at_zero`: whether 0 sets it to None;
    - `field`: the field of an experiment that each setting stands for, separated by spaces, as a dotted name in which a
      number is an item of a vector; empty if it stands for none by itself.
    """

    names: str
    setting: str = ""
    kind: str = "switch"
    unit: str = ""
    bounds: str = ""
    default: object = None
    help: str = ""
    count: int = 1
    constant: object = True
    choices: tuple[str, ...] = ()
    also: tuple[tuple[str, object], ...] = ()
    convert: Callable[[float], float] | None = None
    off_at_zero: bool = False
    field: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """All spellings, the usual one first."""
        return tuple(self.names.split())

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings that take the value."""
        return tuple(self.setting.split())

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of an experiment, one for each setting; none if they stand for none."""
        return tuple(self.field.split())

    @property
    def argument(self) -> str:
        """What follows the flag, as the help shows it; empty for a switch."""
        fixed = {
            "switch": "", "path": "FILE", "word": "|".join(self.choices) or "NAME", "vector": "x y z",
            "misset": "x y z|random", "cell": "a [b c alpha beta gamma]", "depth": f"{self.unit}|inf|0",
            "ignored": "[...]", "image": "n|all",
        }  # fmt: skip
        if self.kind in fixed:
            return fixed[self.kind]
        one = "n" if self.kind == "int" else self.unit or "x"
        return {4: "xmin xmax ymin ymax", 2: "fast slow"}.get(self.count, one)

    @property
    def takes(self) -> str:
        """What the flag needs, in words, for a message."""
        unit = f" ({self.unit})" if self.unit else ""
        words = {
            "switch": "no value", "path": "a file name", "word": " or ".join(self.choices) or "a name",
            "cell": "1 to 6 numbers (A, deg)", "misset": "3 numbers (deg) or the word random",
            "depth": f"1 number{unit}, inf or 0", "ignored": "at most one word", "image": "1 integer or the word all",
        }  # fmt: skip
        noun = "integer" if self.kind == "int" else "number"
        return words.get(self.kind, f"{self.count} {noun}{'s' if self.count > 1 else ''}{unit}")
