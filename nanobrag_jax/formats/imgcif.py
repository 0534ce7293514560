"""Full imgCIF files: any compression that CBFlib knows, and an array for each panel."""

import os
import re
import tempfile
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.text import one_line, read_bytes
from .image_format import Image, Requirement, image_name

NEEDS = Requirement("pycbf", "nanobrag_jax[imgcif]")

_SECTION = re.compile(rb"--CIF-BINARY-FORMAT-SECTION--\r?\n(.{0,1000}?)\r?\n\r?\n", re.DOTALL)
_CONVERSION = re.compile(rb'conversions="x-CBF_([A-Z_0-9]+)"')
_SIMPLE = ("BYTE_OFFSET",)


def beyond_minicbf(data: bytes) -> str | None:
    """What there is in a CBF file that miniCBF has not, in words; None for a single image in byte-offset compression.

    **Arguments:** `data`: all of the file, unpacked.
    """
    sections = [_CONVERSION.search(head) for head in _SECTION.findall(data)]
    kinds = sorted({"no compression" if found is None else found[1].decode() for found in sections})
    if len(sections) > 1:
        return f"{len(sections)} arrays"
    return f"compression {kinds[0]}" if kinds and kinds[0] not in _SIMPLE else None


def read_imgcif(path: str) -> Image:
    """The array of a file, (slow, fast), or those of its panels, (panel, slow, fast).

    **Raises** `InputError` for a file that cannot be read, and for panels of different sizes.
    """
    import pycbf

    name, data = image_name(path), read_bytes(path, "image")
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, "image.cbf")  # CBFlib opens no packed files
        with open(plain, "wb") as handle:
            handle.write(data)
        try:
            arrays = _arrays(pycbf, plain)
        except Exception as error:  # CBFlib's are plain ones
            raise InputError(f"{name} is not an imgCIF file that can be read: {one_line(error)}") from error
    if not arrays:
        raise InputError(f"{name} holds no array")
    if len({array.shape for array in arrays}) > 1:
        shapes = " and ".join(sorted({" x ".join(map(str, array.shape)) for array in arrays}))
        raise InputError(f"{name} has panels of different sizes (slow x fast): {shapes}")
    return arrays[0] if len(arrays) == 1 else np.stack(arrays)


def _arrays(pycbf: Any, path: str) -> list[Image]:
    """All arrays of all data blocks."""
    handle = pycbf.cbf_handle_struct()
    handle.read_widefile(path, pycbf.MSG_DIGEST)
    found = []
    for block in range(handle.count_datablocks()):
        handle.select_datablock(block)
        handle.find_category("array_data")
        handle.find_column("data")
        for row in range(handle.count_rows()):
            handle.select_row(row)
            size, signed, *_, fast, middle, slow, _ = handle.get_integerarrayparameters_wdims_fs()[2:]
            numbers = np.frombuffer(handle.get_integerarray_as_string(), f"{'i' if signed else 'u'}{size}")
            shape = (slow, middle, fast) if slow > 1 else (middle, fast)
            if np.prod(shape) != numbers.size:
                raise ValueError(f"an array of {numbers.size} numbers does not say its size")
            found.append(numbers.reshape(shape))
    return found
