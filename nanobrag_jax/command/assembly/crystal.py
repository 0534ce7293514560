"""The crystal of a command line."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import steps
from ...crystal import Crystal, cell_and_orientation
from ...diffuse import Diffuse
from ...errors import InputError, UsageError
from ...io.mosflm_matrix import read_matrix
from ...laue_groups import laue_group_number
from ...mosaicity import (
    DEFAULT_DOMAINS,
    AbstractMosaicity,
    AnisotropicMosaicity,
    CapMosaicity,
    IsotropicMosaicity,
)
from ...reference.random_numbers import random_misset_deg
from ..flags import Settings
from .asked import Asked
from .fields import fields_of
from .structure_factors import cell_of_factors

Floats = NDArray[np.floating]


def crystal_from_flags(asked: Asked, wavelength_A: float, turn: Floats | None = None) -> Crystal:
    """The crystal that flags describe.

    **Arguments:** `wavelength_A`: what the numbers of -mat are divided by; `turn` (3, 3): from the frame of -mat to the
    lab frame, None where they are the same. **Raises** `InputError`, `UsageError` without a cell.
    """
    cell = _cell(asked, wavelength_A, turn)
    stretched = cell["matrix_cell_lengths_A"]
    edges = cell["cell_lengths_A"] if stretched is None or asked("mode") == "spec" else stretched
    return Crystal(**cell, **crystal_options(asked, edges))


def crystal_options(asked: Asked, edges_A: Floats) -> dict[str, Any]:
    """Arguments of `Crystal` beside cell and orientation: misset, size, spot shape and mosaicity."""
    sizes = [None if asked(f"sample_{x}_mm") is None else asked(f"sample_{x}_mm") * 1e-3 for x in "xyz"]
    with asked.about(*(f"sample_{x}_mm" for x in "xyz")):
        n_cells, notes = steps.cells_from_sample_size(
            sizes, (edges_A * 1e-10).tolist(), cells_of_flags(asked), asked("beamsize_mm") * 1e-3
        )
    asked.notes.extend(notes)
    return fields_of("crystal", asked) | {
        "n_cells_off_diagonal": asked("n_cells_off_diagonal"),
        "misset_deg": misset_of(asked.settings),
        "n_cells": n_cells,
        "mosaicity": mosaicity_of_flags(asked),
        "diffuse": diffuse_of_flags(asked),
    }


def mosaicity_of_flags(asked: Asked) -> AbstractMosaicity:
    """The kind of mosaicity that flags ask for. **Raises** `InputError` for two kinds."""
    given = [name for name in ("mosaic_deg", "eta_deg", "eta_abc_deg") if asked(name) is not None]
    if len(given) > 1:
        flags = " and ".join(str(asked.flag_of(name)) for name in given)
        raise InputError(f"{flags} are different kinds of mosaicity: give one of them")
    if asked("eta_deg") is None and asked("eta_abc_deg") is None:
        domains, spread, note = steps.mosaic_domain_count(asked("mosaic_domains"), asked("mosaic_deg"))
        asked.note(note)
        return CapMosaicity.drawn(spread, domains, asked("mosaic_seed"))
    domains = asked("mosaic_domains") or DEFAULT_DOMAINS
    if asked("eta_abc_deg") is not None:
        return AnisotropicMosaicity(asked("eta_abc_deg"), domains)
    return IsotropicMosaicity(asked("eta_deg"), domains)


def diffuse_of_flags(asked: Asked) -> Diffuse | None:
    """The diffuse scattering that flags ask for. **Raises** `InputError` for flags of it without its length."""
    gamma_A, gamma_cells = asked("diffuse_gamma_A"), asked("diffuse_gamma_cells")
    if gamma_A is None and gamma_cells is None:
        for name in _OF_DIFFUSE:
            if name in asked:
                raise InputError(f"{asked.flag_of(name)} needs -diffuse_gamma or -diffuse_gamma_cells")
        return None
    if gamma_A is not None and gamma_cells is not None:
        raise InputError("-diffuse_gamma and -diffuse_gamma_cells are the same in different units: give one of them")
    if asked("diffuse_sigma_A") is None:
        raise InputError("-diffuse_gamma needs -diffuse_sigma: without displacements nothing is diffuse")
    group = asked("diffuse_laue_group")
    with asked.about("diffuse_laue_group"):
        number = laue_group_number(int(group) if group.isdecimal() else group)
    return Diffuse(
        gamma_A,
        asked("diffuse_sigma_A"),
        number,
        asked("diffuse_stencil"),
        asked("diffuse_frame"),
        asked("diffuse_normalization"),
        gamma_cells=gamma_cells,
        principal_axes=asked("diffuse_axes"),
        only=asked("diffuse_only"),
    )


_OF_DIFFUSE = (
    *("diffuse_sigma_A", "diffuse_laue_group", "diffuse_stencil", "diffuse_frame"),
    *("diffuse_normalization", "diffuse_axes", "diffuse_only"),
)


def cells_of_flags(asked: Asked) -> list[int]:
    """Unit cells along a, b and c, before sizes in mm are turned into counts."""
    return [asked(name) for name in ("Na", "Nb", "Nc")]


def misset_of(settings: Settings) -> tuple[float, float, float]:
    """The misset angles, drawn where -misset asks for random ones."""
    misset, seed = settings.get("misset_deg"), settings.get("misset_seed")
    return random_misset_deg(1 if seed is None else seed) if misset == "random" else misset


def _cell(asked: Asked, wavelength_A: float, turn: Floats | None) -> dict[str, Any]:
    """Arguments of `Crystal` that say which cell, and how it is turned: of -mat, -cell, or the structure factors."""
    cell, matrix_path = asked("cell"), asked("mat_path")
    if "model_box" in asked and (cell is not None or matrix_path is not None):
        given = asked.flag_of("cell" if matrix_path is None else "mat_path")
        raise InputError(f"{given} cannot be given beside -box, which is the cell")
    orientation = stretched = None
    if matrix_path is not None:
        with asked.about("mat_path"):
            star = read_matrix(asked.place / matrix_path) / wavelength_A
        star = star if turn is None else turn @ star
        lengths, angles, orientation = cell_and_orientation(star)
        if cell is not None:
            stretched = _cell_beside_matrix(asked, cell, lengths, angles)
    elif cell is not None:
        lengths, angles = np.array(cell[:3]), np.array(cell[3:])
    else:
        found = cell_of_factors(asked)
        if found is None:
            raise UsageError("give a crystal: -mat FILE (orientation matrix) or -cell a b c alpha beta gamma")
        lengths, angles = found[:3], found[3:]
    return {
        "cell_lengths_A": lengths,
        "cell_angles_deg": angles,
        "orientation": orientation,
        "matrix_cell_lengths_A": None if stretched is None else stretched[:3],
        "matrix_cell_angles_deg": None if stretched is None else stretched[3:],
    }


def _cell_beside_matrix(asked: Asked, cell: tuple[float, ...], lengths: Floats, angles: Floats) -> Floats:
    """A -cell given beside a -mat: c-parity stretches to its edges, spec only checks that the two agree."""
    given = np.array(cell)
    off = np.abs(given / np.concatenate([lengths, angles]) - 1.0)
    text = " ".join(f"{x:g}" for x in cell)
    if asked("mode") == "spec":
        if off.max() > 1e-3:
            matrix = " ".join(f"{x:.6g}" for x in (*lengths, *angles))
            raise InputError(f"-cell {text} disagrees with the cell of -mat, {matrix}: give one of them")
        asked.note(f"-cell {text} has no effect beside -mat")
    return given
