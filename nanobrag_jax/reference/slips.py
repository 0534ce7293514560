"""What differs between the modes: the slips of the reference program, each by its name."""

from typing import NamedTuple

from ..typing import Mode


class Slips(NamedTuple):
    """Which slips hold; the names are those of the table in docs/reference.md section 10."""

    phi0: bool
    """A φ step of exactly zero keeps the vectors of the step before it, in loop order across pixels."""
    interpolation_latch: bool
    """The first sample that leaves the grid turns interpolation off for all that follow."""
    running_product: bool
    """Factors of `-oversample_*` multiply the running sum."""
    nopolar_oversampled: bool
    """Polarisation of every sample is computed although none is asked for."""
    sinc3_cancellation: bool
    """The form factor of a sphere cancels in the middle of a spot."""
    spot_radius: bool
    """Spots that are round in reciprocal space are measured with Na·Nb·Nc, which is no length."""
    triclinic_cell: bool
    """A cell of more than one oblique angle comes out with slightly wrong angles."""
    mat_and_cell: bool
    """A cell beside a matrix stretches the matrix's vectors."""
    pivot_ignored: bool
    """A pivot has no effect with a named convention."""
    pix0_ignored: bool
    """The corner of the first pixel is recomputed from the beam centre."""
    abs_inf_black: bool
    """A thickness without absorption stops nothing."""
    water_scale: bool
    """The background starts the running sum."""
    seen_from_behind: bool
    """A panel that the sample sees from behind has a negative distance, and negative photons."""
    scatterers_unknown: bool
    """There is no amorphous sample."""
    mean_depth_unknown: bool
    """A sensor in one layer absorbs at its front."""


NO_SLIPS = Slips(*[False] * len(Slips._fields))
ALL_SLIPS = Slips(*[True] * len(Slips._fields))


def slips_of(mode: Mode) -> Slips:
    """None in `spec`, all in `c-parity`."""
    return ALL_SLIPS if mode == "c-parity" else NO_SLIPS
