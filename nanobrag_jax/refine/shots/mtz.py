"""MTZ files of refined intensities: I, F and their uncertainties, with Bijvoet columns where mates are apart."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ...io.atomic import write_whole
from ...models.sphere import load_gemmi
from ..space_group import Reflections
from .stage2 import Intensities

_TYPES = {"I": "JQ", "F": "FQ", "I(+)": "KM", "I(-)": "KM", "F(+)": "GL", "F(-)": "GL"}


def write_mtz(
    path: str | os.PathLike[str],
    found: Intensities,
    reflections: Reflections,
    cell: Float[np.ndarray, " 6"],
    wavelength_A: float,
) -> None:
    """Write intensities and amplitudes; reflections that no pixel has seen are left out.

    Columns are I, SIGI, F, SIGF, of which the mean of Bijvoet mates is taken where they are apart, and then I(+),
    SIGI(+), I(-), SIGI(-), F(+), SIGF(+), F(-), SIGF(-) as well; FreeR_flag is left to others.

    **Raises** `InputError` where the file cannot be written.
    """
    gemmi = load_gemmi("MTZ files")
    amplitudes, spreads = found.amplitudes
    hkl, minus = found.groups.labels[:, :3], found.groups.labels[:, 3] == 1
    seen = np.isfinite(found.sigma) & (found.sigma > 0) & (found.observations > 0)
    unique, place = np.unique(hkl[seen], axis=0, return_inverse=True)
    place = place.reshape(-1)
    held = {"I": (found.intensity, found.sigma), "F": (amplitudes, spreads)}
    columns: dict[str, np.ndarray] = {}
    for name, (values, sigmas) in held.items():
        weight = 1.0 / np.maximum(sigmas[seen], 1e-12) ** 2
        total = np.bincount(place, weight, len(unique))
        columns[name] = np.bincount(place, weight * values[seen], len(unique)) / total
        columns[f"SIG{name}"] = 1.0 / np.sqrt(total)
    if reflections.anomalous:
        centric = found.groups.centric[seen]
        for name, (values, sigmas) in held.items():
            for sign, chosen in (("(+)", ~minus[seen]), ("(-)", minus[seen] | centric)):
                for label, numbers in ((f"{name}{sign}", values), (f"SIG{name}{sign}", sigmas)):
                    columns[label] = np.full(len(unique), np.nan)
                    columns[label][place[chosen]] = numbers[seen][chosen]
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.title = reflections.group, "nanobrag_jax.refine"
    mtz.set_cell_for_all(gemmi.UnitCell(*(float(x) for x in cell)))
    mtz.add_dataset("refined").wavelength = wavelength_A
    for name in columns:
        kind = _TYPES[name.removeprefix("SIG")]
        mtz.add_column(name, kind[1] if name.startswith("SIG") else kind[0])
    mtz.set_data(np.column_stack([unique, *columns.values()]).astype(np.float32))
    write_whole(Path(path), mtz.write_to_bytes())
