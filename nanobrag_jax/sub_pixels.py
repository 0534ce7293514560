"""How many sub-pixels resolve the spots of a crystal: settled when an experiment is built."""

from .beam import Beam
from .checks import is_known
from .crystal import Crystal
from .detector import frame_on_host
from .panels import Panels, split_panels
from .steps import auto_oversample
from .typing import Mode


def resolving_oversample(crystal: Crystal, beam: Beam, detector: Panels, mode: Mode = "spec") -> int | None:
    """Sub-pixels along each edge of a pixel that give three points to a spot, on the panel that needs most.

    None while a transformation traces one of the numbers that it depends on. **Raises** `InputError` for an absurd
    number. Source: docs/reference.md section 3.
    """
    if not is_known((crystal, beam, detector)):
        return None
    frames = [frame_on_host(panel, beam, mode=mode) for panel in split_panels(detector)]
    stretched = None if mode == "spec" else crystal.matrix_cell_lengths_A
    edges = crystal.cell_lengths_A if stretched is None else stretched
    return auto_oversample(
        crystal.shape.resolved_length_A(edges.tolist(), crystal.n_cells.tolist()) * 1e-10,
        float(beam.wavelength_A) * 1e-10,
        min(abs(float(frame.distance)) for frame in frames),
        max(float(frame.pixel_size) for frame in frames),
    )
