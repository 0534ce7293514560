"""NeXus files of the application definition NXmx: one HDF5 file with pixels, detector modules, beam and sample.

The frame of NXmx (McStas) has the beam along +z; it is the one of `lab` turned half round about y.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..version import __version__
from .lab import Lab

DATE = "1970-01-01T00:00:00Z"
"""No real one: the same run writes the same bytes."""

TO_MCSTAS = np.diag([-1.0, 1.0, -1.0])
_CHUNK_BYTES = 1 << 20
_SLICE_BYTES = 1 << 24
_NOT_SIMULATED = 1 << 8  # the bit of NXmx for a mask of the user's
_GAP = 1
_ENTRY = "/entry"
_DETECTOR = "/entry/instrument/detector"


def nexus_pieces(
    images: Sequence[NDArray[Any]], lab: Lab, unused: Sequence[NDArray[np.bool_] | None]
) -> Iterator[bytes | memoryview]:
    """What the images (slow, fast) of all panels look like as one file; an empty piece after each compressed part.

    **Arguments:** `unused` (slow, fast) of each panel: pixels that were not simulated, None for none.

    Panels lie under one another in one array, so that viewers without an idea of modules show all of them.
    """
    import h5py

    rows = [image.shape[0] for image in images]
    starts = np.concatenate([[0], np.cumsum(rows)]).tolist()
    width = max(image.shape[1] for image in images)
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        _describe(file, lab, starts, images[0].dtype)
        shape = (starts[-1], width)
        data = _dataset(file, f"{_ENTRY}/data/data", images[0].dtype, shape)
        mask = _dataset(file, f"{_DETECTOR}/pixel_mask", np.dtype(np.uint32), shape, frames=False)
        for start, image, away in zip(starts, images, unused, strict=False):
            fast = image.shape[1]
            step = data.chunks[1]
            for first in range(0, image.shape[0], step):
                part = image[first : first + step]
                data[0, start + first : start + first + len(part), :fast] = part
                yield b""
            block = np.full((image.shape[0], width), _GAP, np.uint32)
            block[:, :fast] = 0 if away is None else np.where(away, np.uint32(_NOT_SIMULATED), np.uint32(0))
            if block.any():
                mask[start : start + image.shape[0]] = block
        file[f"{_DETECTOR}/data"] = h5py.SoftLink(f"{_ENTRY}/data/data")
        file.flush()
        content = memoryview(file.id.get_file_image())
    for first in range(0, len(content), _SLICE_BYTES):
        yield content[first : first + _SLICE_BYTES]


def num_pieces(images: Sequence[NDArray[Any]]) -> int:
    """About how many pieces `nexus_pieces` gives, for a progress meter."""
    return sum(image.nbytes for image in images) * 2 // _CHUNK_BYTES + 1


def _dataset(file: Any, place: str, dtype: np.dtype, shape: tuple[int, int], frames: bool = True) -> Any:
    rows = max(1, min(shape[0], _CHUNK_BYTES // (shape[1] * dtype.itemsize)))
    lead = (1,) if frames else ()
    options = {"compression": "gzip", "compression_opts": 2, "shuffle": True, "chunks": (*lead, rows, shape[1])}
    return file.create_dataset(place, (*lead, *shape), dtype, track_times=False, **options)


def _describe(file: Any, lab: Lab, starts: Sequence[int], dtype: np.dtype) -> None:
    """Everything but the pixels."""
    _group(file, _ENTRY, "NXentry", default="data")
    file.attrs.update(default=_stored("entry"), creator=_stored(f"nanobrag_jax {__version__}"))
    for name, value in {
        "definition": "NXmx",
        "title": "simulated diffraction image",
        "start_time": DATE,
        "end_time": DATE,
        "end_time_estimated": DATE,
    }.items():
        _put(file, f"{_ENTRY}/{name}", value)
    file[f"{_ENTRY}/definition"].attrs["version"] = _stored("1.0")
    _group(file, f"{_ENTRY}/data", "NXdata", signal="data")
    _group(file, f"{_ENTRY}/source", "NXsource")
    _put(file, f"{_ENTRY}/source/name", "simulation")
    _group(file, f"{_ENTRY}/instrument", "NXinstrument")
    _put(file, f"{_ENTRY}/instrument/name", "nanobrag_jax", short_name="nanobrag_jax")
    _beam(file, lab)
    _sample(file, lab)
    _detector(file, lab, dtype)
    for number, place in enumerate(lab.panels):
        _module(file, lab, number, [starts[number], 0], place.pixels)


def _beam(file: Any, lab: Lab) -> None:
    here = f"{_ENTRY}/instrument/beam"
    _group(file, here, "NXbeam")
    _put(file, f"{here}/incident_wavelength", lab.wavelength_A, units="angstrom")
    _put(file, f"{here}/incident_polarization_stokes", lab.stokes)
    if lab.spectrum is not None:
        name = "incident_wavelength_1Dspectrum"
        file[f"{here}/incident_wavelength"].attrs["variant"] = name  # readers add an ending to it: not as bytes
        _put(file, f"{here}/{name}", lab.spectrum[0], units="angstrom")
        _put(file, f"{here}/{name}_weights", lab.spectrum[1])


def _sample(file: Any, lab: Lab) -> None:
    """The sample, its spindle, and for an oscillation the way to it: a still depends on nothing."""
    here = f"{_ENTRY}/sample"
    _group(file, here, "NXsample")
    _put(file, f"{here}/name", "simulated crystal")
    _group(file, f"{here}/transformations", "NXtransformations")
    phi = f"{here}/transformations/phi"
    _put(file, f"{here}/depends_on", phi if lab.osc_deg != 0 else ".")
    _axis(file, phi, [lab.phi_deg], "deg", "rotation", TO_MCSTAS @ lab.spindle, ".")
    _put(file, f"{phi}_end", [lab.phi_deg + lab.osc_deg], units="deg")
    _put(file, f"{phi}_increment_set", lab.osc_deg, units="deg")


def _detector(file: Any, lab: Lab, dtype: np.dtype) -> None:
    first = lab.panels[0]
    _group(file, _DETECTOR, "NXdetector")
    _group(file, f"{_DETECTOR}/transformations", "NXtransformations")
    way = f"{_DETECTOR}/transformations/det_z"
    _axis(file, way, [_along_beam(lab)], "mm", "translation", [0.0, 0.0, 1.0], ".")
    for name, value, unit in (
        ("depends_on", way, None),
        ("description", "simulated area detector", None),
        ("type", "pixel", None),
        ("distance", first.distance_mm * 1e-3, "m"),
        ("beam_center_x", first.beam_pixels[0], "pixel"),
        ("beam_center_y", first.beam_pixels[1], "pixel"),
        ("x_pixel_size", first.pixel_mm * 1e-3, "m"),
        ("y_pixel_size", first.pixel_mm * 1e-3, "m"),
        ("sensor_material", "Si", None),
        ("sensor_thickness", first.sensor_mm * 1e-3, "m"),
        ("count_time", 1.0, "s"),
        ("frame_time", 1.0, "s"),
    ):
        _put(file, f"{_DETECTOR}/{name}", value, **({} if unit is None else {"units": unit}))
    if np.issubdtype(dtype, np.integer):
        _put(file, f"{_DETECTOR}/saturation_value", int(np.iinfo(dtype).max))
        _put(file, f"{_DETECTOR}/underload_value", 0)


def _along_beam(lab: Lab) -> float:
    return float(-lab.panels[0].origin_mm[2])


def _module(file: Any, lab: Lab, number: int, start: list[int], size: tuple[int, int]) -> None:
    place = lab.panels[number]
    here = f"{_DETECTOR}/module" + (f"_{number:0{len(str(len(lab.panels) - 1))}d}" if len(lab.panels) > 1 else "")
    _group(file, here, "NXdetector_module")
    _put(file, f"{here}/data_origin", start)
    _put(file, f"{here}/data_size", list(size))
    corner = TO_MCSTAS @ place.origin_mm - (0.0, 0.0, _along_beam(lab))
    length = float(np.linalg.norm(corner))
    toward = corner / length if length > 0 else np.array([1.0, 0.0, 0.0])
    offset = f"{here}/module_offset"
    _axis(file, offset, length, "mm", "translation", toward, f"{_DETECTOR}/transformations/det_z")
    for name, vector in (("fast", place.fast), ("slow", place.slow)):
        axis = f"{here}/{name}_pixel_direction"
        _axis(file, axis, place.pixel_mm, "mm", "translation", TO_MCSTAS @ vector, offset)


def _group(file: Any, place: str, nx_class: str, **attributes: str) -> None:
    attributes = {"NX_class": nx_class} | attributes
    file.require_group(place).attrs.update({name: _stored(value) for name, value in attributes.items()})


def _put(file: Any, place: str, value: Any, **attributes: Any) -> None:
    made = file.create_dataset(place, data=_stored(value), track_times=False)
    made.attrs.update({name: _stored(each) for name, each in attributes.items()})


def _stored(value: Any) -> Any:
    """Text in the fixed length that beamlines write it in, and that older readers compare it with."""
    return np.bytes_(value.encode()) if isinstance(value, str) else value


def _axis(file: Any, place: str, value: Any, unit: str, kind: str, vector: Any, depends_on: str) -> None:
    """A transformation; all offsets are zero, the translations hold everything."""
    _put(
        file,
        place,
        np.asarray(value, float),
        units=unit,
        transformation_type=kind,
        vector=np.asarray(vector, float) + 0.0,
        offset=np.zeros(3),
        offset_units="mm",
        depends_on=depends_on,
    )
