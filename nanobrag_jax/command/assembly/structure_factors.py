"""The structure factors of a command line: from -hkl, -dump, -mtz, -sfcif or -pdb."""

from typing import TYPE_CHECKING

import jax
import numpy as np
from numpy.typing import NDArray

from ...crystal import reciprocal_basis
from ...detector import frame_on_host
from ...errors import InputError, UsageError
from ...experiment import Experiment, completed
from ...io.fdump import read_fdump
from ...io.hkl import HklTable, read_hkl
from ...numerics.host import on_host
from ...panels import split_panels
from ...steps import use_interpolation
from ...structure_factors import StructureFactors, other_cell_note
from ..flags import Settings
from .asked import Asked
from .resolution import finest_resolution

if TYPE_CHECKING:
    from ...models.sphere import Sphere

_reciprocal_basis = jax.jit(reciprocal_basis)

REFLECTION_FLAGS = {"hkl_path": "-hkl", "mtz_path": "-mtz", "sfcif_path": "-sfcif", "pdb_path": "-pdb"}
"""Settings that name structure factors; a run takes one of them."""

_OPTIONS = {"mtz_column": "mtz_path", "sfcif_column": "sfcif_path", "k_sol": "pdb_path", "b_sol": "pdb_path"}
_OPTIONS |= {"model_box": "pdb_path"}
"""Settings that say more about one of them."""


def names_reflections(settings: Settings) -> bool:
    """Whether flags name a file that structure factors come from, other than a dump."""
    return any(name in settings for name in REFLECTION_FLAGS)


def cell_of_factors(asked: Asked) -> NDArray[np.floating] | None:
    """Edges and angles (6,) from the file that the structure factors come from, None where it has none."""
    if asked("pdb_path") is not None:
        from ...models.density import read_model_cell

        return read_model_cell(asked.place / asked("pdb_path"), asked("model_box"))
    from ...models.reflection_lists import is_reflection_list, sphere_from_list
    from ...models.reflections import read_mmcif_cell, read_mtz_cell

    if asked("mtz_path") is not None:
        return read_mtz_cell(asked.place / asked("mtz_path"), asked("mtz_column"))
    if asked("sfcif_path") is not None:
        return read_mmcif_cell(asked.place / asked("sfcif_path"), asked("sfcif_column"))
    if asked("hkl_path") is not None and is_reflection_list(asked.place / asked("hkl_path")):
        cell = sphere_from_list(asked.place / asked("hkl_path")).cell
        return cell if np.all(np.isfinite(cell)) else None
    return None


def given_table(asked: Asked, parts: Experiment) -> HklTable | None:
    """Structure factors from the file that flags name; None where they name none, or only a dump.

    **Arguments:** `parts`: the experiment without its structure factors: a model is computed as far as the detector
    goes, and a cell in the file is compared with the crystal's.

    **Raises** `InputError` for more than one source, or a file that cannot be used.
    """
    named = [flag for name, flag in REFLECTION_FLAGS.items() if asked(name) is not None]
    if len(named) > 1:
        raise InputError(f"give one of {' and '.join(named)}")
    for name, owner in _OPTIONS.items():
        if name in asked and asked(owner) is None:
            asked.note(f"{asked.flag_of(name)} has no effect without {REFLECTION_FLAGS[owner]}")
    if not named:
        if "F000" in asked:
            asked.note(f"{asked.flag_of('F000')} has no effect without {', '.join(REFLECTION_FLAGS.values())}")
        return None
    table = _read_hkl(asked, parts) if named == ["-hkl"] else _sphere(asked, parts, named[0])
    asked.notes.extend(table.notes)
    F000 = _F000(asked, parts)
    return table if F000 is None or not table.values.size else _with_F000(asked, table, F000)


def _F000(asked: Asked, parts: Experiment) -> float | None:
    """F(000) as given, 0 for a model; None for what the file has, and where amplitudes are interpolated around it."""
    if "F000" in asked or asked("pdb_path") is None:
        return asked("F000")
    return None if _interpolates(asked, parts) else 0.0


def _interpolates(asked: Asked, parts: Experiment) -> bool:
    cells = [round(n) for n in np.asarray(parts.crystal.n_cells).tolist()]
    return use_interpolation(asked("interpolate"), cells)


def _with_F000(asked: Asked, table: HklTable, F000: float) -> HklTable:
    from ...models.sphere import with_F000

    changed = with_F000(table, F000)
    if changed is table:
        asked.note(f"{asked.flag_of('F000')} has no effect: the structure factors do not reach to 0 0 0")
    return changed


def _read_hkl(asked: Asked, parts: Experiment) -> HklTable:
    from ...models.reflection_lists import is_reflection_list, sphere_from_list

    path = asked.place / asked("hkl_path")
    with asked.about("hkl_path"):
        if not is_reflection_list(path):
            return read_hkl(path)
        sphere = sphere_from_list(path)
    _compare_cells(asked, sphere, parts, "-hkl")
    return sphere.table


def _sphere(asked: Asked, parts: Experiment, flag: str) -> HklTable:
    """All of a sphere of reflections from an MTZ, mmCIF or model file."""
    if asked("mtz_path") is not None:
        from ...models.reflections import sphere_from_mtz

        sphere = sphere_from_mtz(asked.place / asked("mtz_path"), asked("mtz_column"))
    elif asked("sfcif_path") is not None:
        from ...models.reflections import sphere_from_mmcif

        sphere = sphere_from_mmcif(asked.place / asked("sfcif_path"), asked("sfcif_column"))
    else:
        from ...models.density import sphere_from_model, with_margin

        box = asked("model_box")
        beam = completed(parts).beam
        frames = [(panel, frame_on_host(panel, beam, mode=asked("mode"))) for panel in split_panels(parts.detector)]
        dmin = max(finest_resolution(frames, beam), asked("dmin_A") or 0.0)
        if box is None and _interpolates(asked, parts):
            cell = on_host(_reciprocal_basis, parts.crystal.cell_lengths_A, parts.crystal.cell_angles_deg)
            reciprocal_edges = np.linalg.norm(np.asarray(cell), axis=1)
            dmin = with_margin(dmin, reciprocal_edges)
        asked.note(f"-pdb: structure factors are computed to {dmin:.4g} A")
        sphere = sphere_from_model(
            asked.place / asked("pdb_path"),
            dmin,
            wavelength_A=float(beam.wavelength_A),
            k_sol=asked("k_sol"),
            b_sol=asked("b_sol"),
            box=box,
        )
    _compare_cells(asked, sphere, parts, flag)
    return sphere.table


def _compare_cells(asked: Asked, sphere: "Sphere", parts: Experiment, flag: str) -> None:
    """A note where the file's cell is not the crystal's."""
    cell = np.concatenate([parts.crystal.cell_lengths_A, parts.crystal.cell_angles_deg])
    if np.all(np.isfinite(sphere.cell)):
        asked.note(other_cell_note(flag, sphere.cell, cell))


def table_from_flags(asked: Asked, parts: Experiment) -> HklTable | None:
    """Structure factors from the file that flags name, or a dump; None for the same F everywhere.

    **Raises** `UsageError` for none at all.
    """
    table = given_table(asked, parts)
    if table is None:
        if "dump_path" in asked or (asked("mode") == "c-parity" and (asked.place / asked("dump_path")).is_file()):
            with asked.about("dump_path"):
                table = read_fdump(asked.place / asked("dump_path"))
            asked.note(f"structure factors are read from the dump file {asked('dump_path')}")
            asked.notes.extend(table.notes)
        elif asked("default_F") == 0:
            raise UsageError("give structure factors: -hkl FILE, -dump FILE of an earlier run, or -default_F x")
    return table if table is not None and table.values.size else None


def factors_of_table(table: HklTable | None, default_F: float) -> StructureFactors:
    """The structure factors of a table, `default_F` everywhere without one."""
    if table is None:
        return StructureFactors(default_F=default_F)
    return StructureFactors(table.values, hkl_min=table.hkl_min, given=table.given, default_F=default_F)


def table_of(factors: StructureFactors) -> HklTable | None:
    """The grid of structure factors as if it came from a file, None without a grid, or with one for each channel."""
    if factors.amplitudes is None or factors.channel_wavelengths_A is not None:
        return None
    values = np.asarray(factors.amplitudes)
    given = np.ones(values.shape, bool) if factors.given is None else np.asarray(factors.given)
    return HklTable(factors.hkl_min, values, given)
