"""NeXus files of the application definition NXmx: one HDF5 file with pixels, detector modules, beam and sample.

The frame of NXmx (McStas) has the beam along +z; it is the one of `lab` turned half round about y.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..constants import NEXUS_ENDINGS
from ..version import __version__
from .hdf5 import read_hdf5, read_hdf5_frame
from .image_format import AddFrame, FileContent, FrameFormat, Image, Requirement, Shape
from .setup import PHOTONS, Lab, Reading, Setup, curved_note, offset_note, unpolarised_note
from .whole_numbers import as_frame

if TYPE_CHECKING:
    import h5py

DATE = "1970-01-01T00:00:00Z"
"""No real one: the same run writes the same bytes."""

TO_MCSTAS = np.diag([-1.0, 1.0, -1.0])
_CHUNK_BYTES = 1 << 20
_SLICE_BYTES = 1 << 24
_NOT_SIMULATED = 1 << 8  # the bit of NXmx for a mask of the user's
_GAP = 1
_DEAD = 1 << 1
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ENTRY = "/entry"
_DETECTOR = "/entry/instrument/detector"


def nexus_pieces(
    images: Sequence[Image], lab: Lab, unused: Sequence[NDArray[np.bool_] | None], reading: Reading = PHOTONS
) -> Iterator[bytes | memoryview]:
    """What the images (slow, fast) of all panels look like as one file; an empty piece after each compressed part.

    **Arguments:** `unused` (slow, fast) of each panel: pixels that were not simulated, None for none; `reading`: what
    the numbers stand for.

    Panels lie under one another in one array, so that viewers without an idea of modules show all of them.
    """
    import h5py

    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        data = _begin(file, _shapes(images), images[0].dtype, lab, unused, reading)
        for _ in _fill(data, 0, images):
            yield b""
        file.flush()
        content = memoryview(file.id.get_file_image())
    for first in range(0, len(content), _SLICE_BYTES):
        yield content[first : first + _SLICE_BYTES]


def _begin(
    file: "h5py.File",
    shapes: Sequence[Shape],
    dtype: np.dtype,
    lab: Lab,
    unused: Sequence[NDArray[np.bool_] | None],
    reading: Reading,
    frames: int = 1,
    packing: Mapping[str, object] | None = None,
) -> "h5py.Dataset":
    """Everything but the pixels; the dataset (frame, slow, fast) for these.

    **Arguments:** as for `nexus_pieces`, and

    - `file`: a new one;
    - `shapes`: (slow, fast) of each panel;
    - `dtype`: of the pixels;
    - `lab`, `unused`, `reading`;
    - `frames`: images of a rotation, of which `lab` is the first;
    - `packing`: how whole images are compressed, None for parts of them with gzip.
    """
    import h5py

    starts = np.concatenate([[0], np.cumsum([slow for slow, _ in shapes])]).tolist()
    whole = starts[-1], max(fast for _, fast in shapes)
    _describe(file, lab, starts, dtype, reading, frames)
    data = _dataset(file, f"{_ENTRY}/data/data", dtype, whole, frames, packing)
    mask = _dataset(file, f"{_DETECTOR}/pixel_mask", np.dtype(np.uint32), whole)
    for panel, (start, (slow, fast), away) in enumerate(zip(starts, shapes, unused, strict=False)):
        block = _pixel_mask((slow, whole[1]), fast, away, reading.dead_pixels(panel))
        if block.any():
            mask[start : start + slow] = block
    file[f"{_DETECTOR}/data"] = h5py.SoftLink(f"{_ENTRY}/data/data")
    return data


def _shapes(images: Sequence[Image]) -> list[Shape]:
    return [(image.shape[0], image.shape[1]) for image in images]


def _fill(data: "h5py.Dataset", frame: int, images: Sequence[Image]) -> Iterator[None]:
    """Write the panels of one frame; yields after each part that is compressed together."""
    step, start = _chunk_rows(data.dtype, (data.shape[1], data.shape[2])), 0
    for image in images:
        for first in range(0, image.shape[0], step):
            part = image[first : first + step]
            data[frame, start + first : start + first + len(part), : image.shape[1]] = part
            yield
        start += image.shape[0]


@contextlib.contextmanager
def _opened(path: str, frames: int, setup: Setup) -> Iterator[AddFrame]:
    """A file to which frames are added one by one; the first decides about their numbers."""
    import h5py

    data: h5py.Dataset | None = None
    number = 0
    with h5py.File(path, "w") as file:

        def add(images: Sequence[Image]) -> None:
            nonlocal data, number
            alike = as_frame(images, None if data is None else data.dtype)
            if data is None:
                data = _begin(file, _shapes(alike), alike[0].dtype, setup.lab, setup.unused, setup.reading, frames)
            for _ in _fill(data, number, alike):
                pass
            number += 1

        yield add


def begin_frames(
    file: "h5py.File",
    shapes: Sequence[Shape],
    dtype: np.dtype,
    setup: Setup,
    frames: int,
    packing: Mapping[str, object],
) -> "h5py.Dataset":
    """Everything of a file of so many images but their pixels; the dataset for these, a whole image in a chunk.

    **Arguments:** as for `open_frames`, and `shapes`: (slow, fast) of each panel; `packing`: options of
    `h5py.Group.create_dataset` that say how images are compressed.
    """
    return _begin(file, shapes, dtype, setup.lab, setup.unused, setup.reading, frames, packing)


def fill_frame(data: "h5py.Dataset", frame: int, images: Sequence[Image]) -> None:
    """Write the panels of one image that is compressed as a whole."""
    slow, fast = data.shape[1:]
    together = images[0]
    if together.shape != (slow, fast):
        together = np.zeros((slow, fast), data.dtype)
        start = 0
        for image in images:
            together[start : start + image.shape[0], : image.shape[1]] = image
            start += image.shape[0]
    data[frame] = together


def _pixel_mask(
    shape: Shape, fast: int, away: NDArray[np.bool_] | None, dead: NDArray[np.bool_] | None
) -> NDArray[np.uint32]:
    """The bits of NXmx for a panel whose rows are filled up to the widest panel's."""
    block = np.full(shape, _GAP, np.uint32)
    block[:, :fast] = 0
    for pixels, bit in ((away, _NOT_SIMULATED), (dead, _DEAD)):
        if pixels is not None:
            block[:, :fast] |= np.where(pixels, np.uint32(bit), np.uint32(0))
    return block


def num_pieces(images: Sequence[Image]) -> int:
    """About how many pieces `nexus_pieces` gives, for a progress meter."""
    return sum(image.nbytes for image in images) * 2 // _CHUNK_BYTES + 1


def _chunk_rows(dtype: np.dtype, shape: Shape) -> int:
    """How many rows are compressed together."""
    return max(1, min(shape[0], _CHUNK_BYTES // (shape[1] * dtype.itemsize)))


def _dataset(
    file: "h5py.File",
    place: str,
    dtype: np.dtype,
    shape: Shape,
    frames: int = 0,
    packing: Mapping[str, object] | None = None,
) -> "h5py.Dataset":
    """An empty array (slow, fast), or (frame, slow, fast) of so many frames."""
    chunks = (_chunk_rows(dtype, shape), shape[1]) if packing is None else shape
    packing = {"compression": "gzip", "compression_opts": 2, "shuffle": True} if packing is None else packing
    if frames:
        whole = frames, *shape
        return file.create_dataset(place, whole, dtype, chunks=(1, *chunks), track_times=False, **packing)
    return file.create_dataset(place, shape, dtype, chunks=chunks, track_times=False, **packing)


def _describe(
    file: "h5py.File", lab: Lab, starts: Sequence[int], dtype: np.dtype, reading: Reading, frames: int
) -> None:
    """Everything but arrays of pixels."""
    _group(file, _ENTRY, "NXentry", default="data")
    file.attrs.update(default=_stored("entry"), creator=_stored(f"nanobrag_jax {__version__}"))
    said = {"definition": "NXmx", "title": "simulated diffraction image"}
    for name, value in (said | dict.fromkeys(("start_time", "end_time", "end_time_estimated"), DATE)).items():
        _put(file, f"{_ENTRY}/{name}", value)
    file[f"{_ENTRY}/definition"].attrs["version"] = _stored("1.0")
    _group(file, f"{_ENTRY}/data", "NXdata", signal="data")
    _group(file, f"{_ENTRY}/source", "NXsource")
    _put(file, f"{_ENTRY}/source/name", "simulation")
    _group(file, f"{_ENTRY}/instrument", "NXinstrument")
    _put(file, f"{_ENTRY}/instrument/name", "nanobrag_jax", short_name="nanobrag_jax")
    _beam(file, lab)
    _sample(file, lab, frames)
    _detector(file, lab, dtype, reading)
    for number, place in enumerate(lab.panels):
        _module(file, lab, number, [starts[number], 0], place.pixels)


def _beam(file: "h5py.File", lab: Lab) -> None:
    here = f"{_ENTRY}/instrument/beam"
    _group(file, here, "NXbeam")
    _put(file, f"{here}/incident_wavelength", lab.wavelength_A, units="angstrom")
    # Q along x, U between x and y: McStas' x is the other way round, and with it the sign of U
    _put(file, f"{here}/incident_polarization_stokes", lab.stokes * (1.0, 1.0, -1.0, 1.0) + 0.0)
    if lab.spectrum is not None:
        name = "incident_wavelength_1Dspectrum"
        file[f"{here}/incident_wavelength"].attrs["variant"] = name  # readers add an ending to it: not as bytes
        _put(file, f"{here}/{name}", lab.spectrum[0], units="angstrom")
        _put(file, f"{here}/{name}_weights", lab.spectrum[1])


def _sample(file: "h5py.File", lab: Lab, frames: int) -> None:
    """The sample, its spindle, and for an oscillation the way to it: a still depends on nothing."""
    here = f"{_ENTRY}/sample"
    _group(file, here, "NXsample")
    _put(file, f"{here}/name", "simulated crystal")
    _group(file, f"{here}/transformations", "NXtransformations")
    phi = f"{here}/transformations/phi"
    _put(file, f"{here}/depends_on", phi if lab.osc_deg != 0 else ".")
    starts = lab.phi_deg + lab.osc_deg * np.arange(frames)
    _axis(file, phi, starts, "deg", "rotation", TO_MCSTAS @ lab.spindle, ".")
    _put(file, f"{phi}_end", starts + lab.osc_deg, units="deg")
    _put(file, f"{phi}_increment_set", lab.osc_deg, units="deg")


def _detector(file: "h5py.File", lab: Lab, dtype: np.dtype, reading: Reading) -> None:
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
        ("sensor_thickness", sensor_thickness_mm(first.sensor_mm, lab.wavelength_A) * 1e-3, "m"),
        ("count_time", 1.0, "s"),
        ("frame_time", 1.0, "s"),
    ):
        _put(file, f"{_DETECTOR}/{name}", value, **({} if unit is None else {"units": unit}))
    whole = np.issubdtype(dtype, np.integer)
    if reading.saturation is not None or whole:
        largest = int(np.iinfo(dtype).max) if reading.saturation is None else int(reading.saturation)
        _put(file, f"{_DETECTOR}/saturation_value", largest)
    if whole:
        _put(file, f"{_DETECTOR}/underload_value", 0)


def sensor_thickness_mm(sensor_mm: float, wavelength_A: float) -> float:
    """The thickness to state for a sensor: its own, or almost nothing where there is none to correct for.

    NXmx wants a material and a thickness, and DIALS takes no thickness of 0 (it always corrects for a depth that
    follows from both, and divides intensities by 1 − exp(−μt/cos α)). A thin sensor has no parallax, but that
    efficiency would still favour slanted rays. It does not where μt is so small that the difference from 1 is the last
    bit of double precision, the same one for every angle α up to 60°: 2⁻⁵⁴ < μt/cos α < 3·2⁻⁵⁴. Then intensities have
    a common factor, and no other correction. For silicon μ is roughly 4.2 λ^2.89 per mm (λ in Å, from 0.35 to 5 Å to
    a fifth), which is near enough.
    """
    if sensor_mm > 0:
        return sensor_mm
    return 1.25 * 2.0**-54 / (4.2 * wavelength_A**2.89)


def _along_beam(lab: Lab) -> float:
    return float(-lab.panels[0].origin_mm[2])


def _module(file: "h5py.File", lab: Lab, number: int, start: list[int], size: tuple[int, int]) -> None:
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


def _group(file: "h5py.File", place: str, nx_class: str, **attributes: str) -> None:
    attributes = {"NX_class": nx_class} | attributes
    file.require_group(place).attrs.update({name: _stored(value) for name, value in attributes.items()})


def _put(file: "h5py.File", place: str, value: ArrayLike, **attributes: ArrayLike) -> None:
    made = file.create_dataset(place, data=_stored(value), track_times=False)
    made.attrs.update({name: _stored(each) for name, each in attributes.items()})


def _stored(value: ArrayLike) -> ArrayLike:
    """Text in the fixed length that beamlines write it in, and that older readers compare it with."""
    return np.bytes_(value.encode()) if isinstance(value, str) else value


def _axis(
    file: "h5py.File", place: str, value: ArrayLike, unit: str, kind: str, vector: ArrayLike, depends_on: str
) -> None:
    """A transformation; all offsets are zero, the translations hold everything.

    **Arguments:**

    - `file`, `place`: where to write it.
    - `value`, `unit`: how far it moves things.
    - `kind`: translation or rotation.
    - `vector` (3,): its direction.
    - `depends_on`: the place of the next transformation, "." for none.
    """
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


class Nexus(FrameFormat):
    """One file for all panels, and for all images of a sweep; images in other HDF5 files are read too."""

    name = "nexus"
    label = "NeXus"
    extensions = NEXUS_ENDINGS
    foreign = "decides"
    holds_numbers = True
    has_datasets = True
    needs_to_write = Requirement("h5py", "nanobrag_jax[formats]")
    needs_to_read = Requirement("h5py", "nanobrag_jax[formats]")
    panels_together = True

    def unsaid(self, setup: Setup) -> list[str]:
        """All geometry but a curvature can be said."""
        return curved_note(setup) + offset_note(setup) + unpolarised_note(setup)

    def write(self, images: Sequence[Image], setup: Setup) -> list[FileContent]:
        """Photons in single precision, integers as they are; all panels in the type that holds each of them."""
        alike = as_frame(images)
        return [FileContent(nexus_pieces(alike, setup.lab, setup.unused, setup.reading), num_pieces(alike))]

    def open_frames(self, path: str, frames: int, setup: Setup) -> AbstractContextManager[AddFrame]:
        """One file of so many frames; the angles of all of them are said when it begins."""
        return _opened(path, frames, setup)

    def begins(self, start: bytes) -> bool:
        """With the mark of HDF5."""
        return start.startswith(_SIGNATURE)

    def read(self, path: str, dataset: str, shape: Shape | None) -> Image:
        """A dataset by its place, where it has one."""
        return read_hdf5(path, dataset)

    def read_frame(self, path: str, dataset: str, frame: int) -> Image:
        """That frame and no other."""
        return read_hdf5_frame(path, dataset, frame)
