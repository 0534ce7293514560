"""What a command line asks for: flags and SMV headers as settings (docs/reference.md sections 1 and 2)."""

import math
import re
from pathlib import Path

import numpy as np

CONVENTIONS = ("mosflm", "xds", "adxv", "denzo", "dials")
NUMBERS = {
    **{name: name for name in ("default_F", "misset_seed", "mosaic_seed", "mosaic", "fudge", "distance", "pixel")},
    **{name: name for name in ("close_distance", "Xbeam", "Ybeam", "Xclose", "Yclose", "ORGX", "ORGY", "twotheta")},
    **{name: name for name in ("detector_rotx", "detector_roty", "detector_rotz", "detector_thick", "fluence", "flux")},
    **{
        name: name for name in ("exposure", "beamsize", "dispersion", "dispsteps", "hdivrange", "vdivrange", "hdivstep")
    },
    **{name: name for name in ("vdivstep", "hdivsteps", "vdivsteps", "polar", "phi", "osc", "phistep", "phisteps")},
    **{name: name for name in ("dmin", "oversample", "water", "detector_thicksteps", "Na", "Nb", "Nc")},
    **{name: name for name in ("sample_x", "sample_y", "sample_z", "detsize_f", "detsize_s")},
    "lambda": "wavelength",
    "mosaic_domains": "domains",
    "detpixels_x": "detpixels_f",
    "detpixels_y": "detpixels_s",
    "thicksteps": "detector_thicksteps",
}
"""Flags of one number, and the setting each of them is."""
SEVERAL = {
    "N": ("Na", "Nb", "Nc"),
    "samplesize": ("sample_x", "sample_y", "sample_z"),
    "xtalsize": ("sample_x", "sample_y", "sample_z"),
    "detpixels": ("detpixels_f", "detpixels_s"),
    "detsize": ("detsize_f", "detsize_s"),
    "divergence": ("hdivrange", "vdivrange"),
    "divsteps": ("hdivsteps", "vdivsteps"),
}
SWITCHES = {
    "square_xtal": ("shape", "square"),
    "round_xtal": ("shape", "round"),
    "gauss_xtal": ("shape", "gauss"),
    "tophat_spots": ("shape", "tophat"),
    "binary_spots": ("shape", "tophat"),
    "curved_det": ("curved", True),
    "point_pixel": ("point_pixel", True),
    "round_div": ("round_div", True),
    "square_div": ("round_div", False),
    "nopolar": ("nopolar", True),
    "oversample_thick": ("oversample_thick", True),
    "oversample_polar": ("oversample_polar", True),
    "oversample_omega": ("oversample_omega", True),
    "interpolate": ("interpolate", True),
    "nointerpolate": ("interpolate", False),
}
VECTORS = ("fdet", "sdet", "odet", "beam", "polar", "pix0", "pix0_mm", "spindle", "twotheta")
TEXTS = ("hkl", "mat", "mask", "img", "sourcefile")
OUTPUT = ("floatfile", "intfile", "pgmfile", "noisefile", "seed", "adc", "scale", "pgmscale", "mode")
"""Flags with an argument that have no say in the float image."""
PIVOTS = {
    **dict.fromkeys(("distance", "Xbeam", "Ybeam"), "beam"),
    **dict.fromkeys(("close_distance", "Xclose", "Yclose", "ORGX", "ORGY", "twotheta"), "sample"),
}
HEADER = {
    "SIZE1": "detpixels_f",
    "SIZE2": "detpixels_s",
    "PIXEL_SIZE": "pixel",
    "DISTANCE": "distance",
    "CLOSE_DISTANCE": "close_distance",
    "WAVELENGTH": "wavelength",
    "BEAM_CENTER_X": "Xbeam",
    "BEAM_CENTER_Y": "Ybeam",
    "ORGX": "ORGX",
    "ORGY": "ORGY",
    "PHI": "phi",
    "OSC_RANGE": "osc",
}
DEFAULTS = {
    **{"default_F": 0.0, "Na": 1.0, "Nb": 1.0, "Nc": 1.0, "shape": "square", "fudge": 1.0, "mosaic_seed": 12345678.0},
    **{
        "pixel": 0.1,
        "distance": 100.0,
        "detsize_f": 102.4,
        "detsize_s": 102.4,
        "convention": "mosflm",
        "pivot": "beam",
    },
    **{"wavelength": 1.0, "fluence": 1.25932015286227086e29, "flux": 0.0, "exposure": 1.0, "beamsize": 0.1},
    **{"round_div": True, "polar": 0.0, "nopolar": False, "phi": 0.0, "detector_thick": 0.0, "twotheta": 0.0},
    **{"detector_rotx": 0.0, "detector_roty": 0.0, "detector_rotz": 0.0, "dmin": 0.0, "water": 0.0, "misset_seed": 1.0},
    **{"curved": False, "point_pixel": False, "misset": (0.0, 0.0, 0.0)},
    **{"oversample_thick": False, "oversample_polar": False, "oversample_omega": False},
}


class Settings(dict):
    """Settings by name; None for what has no default and was not given."""

    def __missing__(self, name):
        return DEFAULTS.get(name)


def read_line(words: list[str], folder: Path) -> Settings:
    """The settings of a command; files are looked for in `folder`.

    **Raises** `ValueError` for a flag that the restatement does not know.
    """
    found = Settings()
    for kind in ("mask", "img"):
        if f"-{kind}" in words:
            _take_header(found, kind, folder / words[words.index(f"-{kind}") + 1])
    i = 0
    while i < len(words):
        flag = words[i].removeprefix("-")
        values = words[i + 1 :]
        i += 1 + _take(found, flag, values)
    return found


def _take(found: Settings, flag: str, values: list[str]) -> int:
    """Put a flag into the settings; how many words follow it."""
    if flag in PIVOTS:
        found["pivot"] = PIVOTS[flag]
    if flag in NUMBERS:
        found[NUMBERS[flag]] = float(values[0])
        if flag == "polar":
            found["nopolar"] = False
        return 1
    if flag in SEVERAL:
        found.update(dict.fromkeys(SEVERAL[flag], float(values[0])))
        return 1
    if flag in SWITCHES:
        name, value = SWITCHES[flag]
        found[name] = value
        return 0
    if flag in CONVENTIONS:
        found["convention"] = flag
        return 0
    if flag in TEXTS:
        found[flag] = values[0]
        return 1
    if flag in OUTPUT:
        return 1
    if flag in ("nopgm", "nonoise", "noprogress", "progress"):
        return 0
    return _take_others(found, flag, values)


def _take_others(found: Settings, flag: str, values: list[str]) -> int:
    vector = re.fullmatch(r"(\w+?)_(?:vector|axis)(_mm)?", flag)
    if vector and vector[1] + (vector[2] or "") in VECTORS:
        found[f"{vector[1]}_vector"] = np.array([float(x) for x in values[:3]])
        if vector[2]:
            found["pix0_in_mm"] = True
        found["convention"] = "custom"
        return 3
    if flag == "pivot":
        found["pivot"] = found["pivot_asked"] = values[0]
        return 1
    if flag == "energy":
        found["wavelength"] = 12398.42 / float(values[0])
        return 1
    if flag == "detector_abs":
        depth = float(values[0])
        infinite = depth == 0 or math.isinf(depth)
        found["mu"] = 0.0 if infinite else 1.0 / (depth * 1e-6)
        if infinite:
            found["detector_thick"] = 0.0
        return 1
    if flag == "roi":
        found["roi"] = tuple(int(x) for x in values[:4])
        return 4
    if flag == "misset":
        random = values[0] == "random"
        found["misset"] = "random" if random else tuple(float(x) for x in values[:3])
        return 1 if random else 3
    if flag == "cell":
        numbers = []
        for word in values[:6]:
            if word.startswith("-"):
                break
            numbers.append(float(word))
        edges = (numbers[:3] + 2 * numbers[:1])[:3]
        found["cell"] = (*edges, *(numbers[3:] + [90.0] * 3)[:3])
        return len(numbers)
    raise ValueError(f"the restatement does not know -{flag}")


def read_smv(path: Path) -> tuple[str, np.ndarray]:
    """The header's text and the pixels (slow, fast) of an SMV file."""
    content = path.read_bytes()
    start = int(re.search(rb"HEADER_BYTES=\s*(\d+)", content)[1])
    text = content[:start].decode("ascii", "replace")
    order = ">u2" if "BYTE_ORDER=big" in text else "<u2"
    fast, slow = (int(_header_value(text, key)) for key in ("SIZE1", "SIZE2"))
    return text, np.frombuffer(content[start:], order, slow * fast).reshape(slow, fast)


def _header_value(text: str, key: str) -> float | None:
    """The number behind the last place where a key's text and an equals sign stand."""
    found = re.findall(rf"{key}\w*\s*=\s*([-+.\deE]+)", text)
    return float(found[-1]) if found else None


def _take_header(found: Settings, kind: str, path: Path) -> None:
    text, image = read_smv(path)
    for key, name in HEADER.items():
        value = _header_value(text, key)
        if value is not None:
            found[name] = value
    if kind == "mask":
        found["mask_pixels"] = image != 0
        center = _header_value(text, "BEAM_CENTER_Y")
        if center is not None:
            found["Ybeam"] = image.shape[0] * found["pixel"] - center
