"""The trace of a pixel as a record: names in order, text and JSON, and how to read them back.

Knows nothing of how the numbers are made; names and units: docs/reference.md section 11.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..io.text import read_bytes
from .table import Value, table

GEOMETRY = (
    "pix0_vector_meters", "fdet_vec", "sdet_vec", "pixel_pos_meters", "R_distance_meters", "omega_pixel_sr",
    "close_distance_meters", "obliquity_factor", "diffracted_vec", "incident_vec", "lambda_meters",
    "lambda_angstroms", "scattering_vec_A_inv",
)  # fmt: skip
"""Names of what is computed before the crystal is looked at."""

CRYSTAL = ("rot_a_star_A_inv", "rot_b_star_A_inv", "rot_c_star_A_inv")
"""Names of the crystal before any rotation; in a φ step they are those of its real vectors."""

FIRST_STEP = (
    "rot_a_angstroms", "rot_b_angstroms", "rot_c_angstroms", "hkl_frac", "hkl_rounded", "F_latt_a", "F_latt_b",
    "F_latt_c", "F_latt", "F_cell",
)  # fmt: skip
"""Names of what belongs to the first φ step."""

SCALING = (
    "I_before_scaling", "r_e_meters", "r_e_sqr", "fluence_photons_per_m2", "crystal_scale", "steps",
    "oversample_thick", "oversample_polar", "oversample_omega", "capture_fraction", "polar", "omega_pixel",
    "cos_2theta", "background_photons", "I_pixel_final", "floatimage_accumulated",
)  # fmt: skip
"""Names of what is computed after the last φ step."""

NAMES = GEOMETRY + CRYSTAL + FIRST_STEP + SCALING
"""All names in the order of computation; the φ steps stand between `FIRST_STEP` and `SCALING`."""

_PREFIX = re.compile(r"TRACE\w*\s*:?\s*")
_PAIR = re.compile(r"([A-Za-z_]\w*)=(\S+)")
_NAME_AND_VALUES = re.compile(r"([A-Za-z_]\w*)(?:\s*[:=]\s*|\s+)(.+)")
_UNIT = re.compile(r"\s*\[[^\]]*\]\s*$")


@dataclass(frozen=True)
class Carried:
    """What a pixel of c-parity inherits from the pixels before it, and what it leaves (docs/reference.md section 10).

    `used`: whether a φ = 0 step of the pixel took over vectors instead of rotating; `source`: (slow, fast) of the
    pixel that left them, None where none was sampled before, so that they are the unrotated crystal's. `inherits`,
    `leaves`: rows a, b, c in Å, nine numbers. `interpolates_before`, `interpolates_after`: whether interpolation is
    on; `interpolation_ended_at`: (slow, fast) of an earlier pixel that turned it off, None for none.
    """

    used: bool
    source: tuple[int, int] | None
    inherits: tuple[float, ...]
    leaves: tuple[float, ...]
    interpolates_before: bool
    interpolates_after: bool
    interpolation_ended_at: tuple[int, int] | None

    def sentence(self) -> str:
        """The state in words."""
        origin = "the unrotated crystal: no pixel was sampled before"
        if self.source is not None:
            origin = f"what pixel slow {self.source[0]}, fast {self.source[1]} left"
        words = f"phi = 0 step: vectors taken over from {origin}" if self.used else "no phi = 0 step took over vectors"
        if self.interpolation_ended_at is not None:
            words += "; interpolation turned off by pixel slow {}, fast {}".format(*self.interpolation_ended_at)
        elif self.interpolates_before and not self.interpolates_after:
            words += "; interpolation turned off by this pixel"
        return words


@dataclass(frozen=True, repr=False)
class Trace:
    """Every intermediate of one pixel, by name.

    `values`: the names of `NAMES` in order, numbers and vectors in the units that the names say. `phi_steps`: one
    mapping a φ step of source 0, mosaic domain 0, first sub-pixel (of every sensor layer, front first): `layer`,
    `phi_tic`, `phi_deg`; `kept`: 0 where dmin cuts the sample; `rotated`: 0 where the step took over vectors;
    `interpolated`; `k_frac`; then the names of `CRYSTAL` and `FIRST_STEP`. `carried`: c-parity only.
    `factors_in_sum`: names of scaling factors that I_before_scaling contains already, as they differ from sample to
    sample.
    """

    slow: int | None
    fast: int | None
    values: Mapping[str, Value]
    phi_steps: Sequence[Mapping[str, Value]] = ()
    mode: str | None = None
    carried: Carried | None = None
    factors_in_sum: Sequence[str] = field(default=())

    def __getitem__(self, name: str) -> Value:
        """The value of a name; KeyError for one that the trace does not have."""
        return self.values[name]

    def text(self) -> str:
        """Lines `NAME value…` with full precision, a line `phi_step name=value…` a φ step, comments after `#`."""
        lines = [f"# pixel slow {self.slow}, fast {self.fast}, mode {self.mode}"]
        lines += [f"# {note}" for note in self._notes()]
        lines += [f"slow {self.slow}", f"fast {self.fast}"]
        steps = [" ".join(["phi_step", *(f"{k}={_shown(v, ',')}" for k, v in step.items())]) for step in self.phi_steps]
        for name, value in self.values.items():
            if name == SCALING[0]:
                lines += steps
            lines.append(f"{name} {_shown(value, ' ')}")
        return "\n".join(lines) + "\n"

    def _notes(self) -> list[str]:
        """Sentences on what the numbers do not say."""
        notes = [] if self.carried is None else [self.carried.sentence()]
        if self.factors_in_sum:
            notes.append(f"I_before_scaling contains already: {', '.join(self.factors_in_sum)}")
        return notes

    def as_dict(self) -> dict:
        """What `json` writes: names to numbers and lists, with `phi_steps`, `carried` and `factors_in_sum`."""
        record: dict = {"slow": self.slow, "fast": self.fast, "mode": self.mode}
        record |= {name: _listed(value) for name, value in self.values.items()}
        record["phi_steps"] = [{name: _listed(value) for name, value in step.items()} for step in self.phi_steps]
        record["factors_in_sum"] = list(self.factors_in_sum)
        if self.carried is not None:
            record["carried"] = {name: _listed(value) for name, value in vars(self.carried).items()}
        return record

    def json(self) -> str:
        """The trace as JSON; every number reads back as the same double."""
        return json.dumps(self.as_dict(), indent=1)

    def __repr__(self) -> str:
        heading = [f"pixel slow {self.slow}, fast {self.fast}" + (f", mode {self.mode}" if self.mode else "")]
        return "\n".join([*heading, *self._notes(), table(self.values, self.phi_steps)])


def _shown(value: Value, separator: str) -> str:
    numbers = value if isinstance(value, tuple) else (value,)
    return separator.join(repr(int(x)) if isinstance(x, int) else repr(float(x)) for x in numbers)


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def read_traces(path: str | os.PathLike[str]) -> list[Trace]:
    """The traces in a file: our JSON or text, or the log of a reference program that prints `TRACE…: NAME value…`.

    In a log only the first value of a name counts (later ones belong to other samples). Raises InputError if the file
    cannot be read or holds no trace.
    """
    text = read_bytes(path, "trace").decode("utf-8", "replace")
    name = f"trace {os.fspath(path)!r}"
    traces = _from_json(text, name) if text.lstrip()[:1] in ("{", "[") else _from_text(text)
    if not traces:
        raise InputError(f"{name} holds no trace: lines NAME value… or JSON with the names of a trace are expected")
    return traces


def _from_json(text: str, name: str) -> list[Trace]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} is not valid JSON: {error}") from error
    records = found if isinstance(found, list) else found.get("traces", [found])
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{name} is no trace: an object of names, or a list of them, is expected")
    return [trace_of(record) for record in records if any(key in NAMES for key in record)]


def trace_of(record: Mapping) -> Trace:
    """The trace of a record as `Trace.as_dict` makes it; names that hold no numbers are left out."""
    steps = [_numbers_only(step) for step in record.get("phi_steps", ())]
    values = {key: value for key, value in _numbers_only(record).items() if key not in ("slow", "fast")}
    factors = tuple(record.get("factors_in_sum", ()))
    return Trace(record.get("slow"), record.get("fast"), values, steps, record.get("mode"), factors_in_sum=factors)


def _numbers_only(record: Mapping) -> dict[str, Value]:
    found = {}
    for key, value in record.items():
        numbers = value if isinstance(value, list) else [value]
        if numbers and all(isinstance(x, int | float) for x in numbers):
            found[key] = tuple(float(x) for x in numbers) if isinstance(value, list) else float(value)
    return found


def _from_text(text: str) -> list[Trace]:
    """The traces of a log: where lines are marked with TRACE only these count, else those that begin with a name."""
    lines = [line.strip() for line in text.splitlines()]
    marked = [line for line in lines if line.startswith("TRACE")]
    known = {*NAMES, "slow", "fast", "phi_step"}
    traces: list[tuple[dict, list]] = []
    for line in marked or [line for line in lines if re.split(r"[\s:=]", line, maxsplit=1)[0] in known]:
        line = _UNIT.sub("", _PREFIX.sub("", line, count=1))
        pairs = {key: number for key, word in _PAIR.findall(line) if (number := _value(word.split(","))) is not None}
        if not traces:
            traces.append(({}, []))
        values, steps = traces[-1]
        if "phi_tic" in pairs:
            steps.append(pairs)
            continue
        found = _NAME_AND_VALUES.fullmatch(line)
        value = None if found is None else _value(re.split(r"[\s,]+", found[2].strip()))
        if found is None or value is None:
            continue
        if found[1] == "slow" and "slow" in values:
            traces.append(({"slow": value}, []))
        values.setdefault(found[1], value)
    return [_of_log(values, steps) for values, steps in traces if any(key in NAMES for key in values)]


def _of_log(values: dict, steps: list) -> Trace:
    slow, fast = (values.pop(name, None) for name in ("slow", "fast"))
    return Trace(None if slow is None else int(slow), None if fast is None else int(fast), values, steps)


def _value(words: Sequence[str]) -> Value | None:
    """One number, or several as a tuple; None if a word is none."""
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        return None
    return numbers[0] if len(numbers) == 1 else numbers


def numbers_of(value: Value) -> np.ndarray:
    """A value as a vector of doubles."""
    return np.atleast_1d(np.asarray(value, float))
