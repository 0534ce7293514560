"""The one table of command-line flags, and the parser, the help and the documentation made from it.

Source: docs/reference.md section 1. Nothing here reads a file or knows jax; values stay in the flag's own unit,
which is also in the name of the setting.
"""

import difflib
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from .constants import MODES, PRECISIONS
from .errors import InputError

EV_ANGSTROM = 12398.42  # wavelength (A) times photon energy (eV), as the reference has it
LARGEST_INT = 2**31 - 1

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?")
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)

BOUNDS: dict[str, Callable[[float], bool]] = {
    "": lambda x: True,
    "> 0": lambda x: x > 0,
    ">= 0": lambda x: x >= 0,
    ">= 1": lambda x: x >= 1,
    "from -1 to 1": lambda x: -1 <= x <= 1,
    "from 0 to 100": lambda x: 0 <= x <= 100,
    "from -2147483646 to 2147483646": lambda x: abs(x) < LARGEST_INT,
}
SEED = "from -2147483646 to 2147483646"


@dataclass(frozen=True)
class Flag:
    """One row of the table.

    `names`: spellings, separated by spaces; one that ends in `…` stands for any continuation.
    `setting`: what it sets, separated by spaces when it sets several to the same value; empty if it has no effect.
    `kind`: switch, int, float, vector, word, path, or one of cell, misset, depth, ignored with rules of their own.
    `count`: how many numbers. `constant`: what a switch sets. `choices`: the words allowed.
    `also`: further (setting, value) pairs. `convert`: from the number given to the value of the setting.
    """

    names: str
    setting: str = ""
    kind: str = "switch"
    unit: str = ""
    bounds: str = ""
    default: object = None
    help: str = ""
    count: int = 1
    constant: object = True
    choices: tuple[str, ...] = ()
    also: tuple[tuple[str, object], ...] = ()
    convert: Callable[[float], float] | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All spellings, the usual one first."""
        return tuple(self.names.split())

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings that take the value."""
        return tuple(self.setting.split())

    @property
    def argument(self) -> str:
        """What follows the flag, as the help shows it; empty for a switch."""
        fixed = {
            "switch": "", "path": "FILE", "word": "|".join(self.choices) or "NAME", "vector": "x y z",
            "misset": "x y z|random", "cell": "a [b c alpha beta gamma]", "depth": f"{self.unit}|inf|0",
            "ignored": "[...]",
        }  # fmt: skip
        if self.kind in fixed:
            return fixed[self.kind]
        one = "n" if self.kind == "int" else self.unit or "x"
        return {4: "xmin xmax ymin ymax", 2: "fast slow"}.get(self.count, one)

    @property
    def takes(self) -> str:
        """What the flag needs, in words, for a message."""
        unit = f" ({self.unit})" if self.unit else ""
        words = {
            "switch": "no value", "path": "a file name", "word": " or ".join(self.choices) or "a name",
            "cell": "1 to 6 numbers (A, deg)", "misset": "3 numbers (deg) or the word random",
            "depth": f"1 number{unit}, inf or 0", "ignored": "at most one word",
        }  # fmt: skip
        noun = "integer" if self.kind == "int" else "number"
        return words.get(self.kind, f"{self.count} {noun}{'s' if self.count > 1 else ''}{unit}")


@dataclass(frozen=True)
class Settings:
    """What a command line asks for.

    `values`: only what was given, the last one wins. `given`: every (flag as typed, setting, value) in order, side
    effects (pivot, convention, …) included: replaying it makes `values`. `notes`: one sentence for each flag that has
    no effect, was adjusted, or wins over another.
    """

    values: dict[str, Any] = field(default_factory=dict)
    given: list[tuple[str, str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> Any:
        """Value of a setting: as given, else the default of the table (None where there is none).

        Raises KeyError for a name that is no setting.
        """
        return self.values[name] if name in self.values else DEFAULTS[name]

    def flag_of(self, name: str) -> str | None:
        """The flag, as typed, that set `name` last; None if none did. For messages."""
        return next((flag for flag, setting, _ in reversed(self.given) if setting == name), None)


def _at_least_one(n: float) -> int:
    return max(int(n), 1)


def _vector(names: str, setting: str, help: str, **more) -> Flag:
    more.setdefault("also", (("convention", "CUSTOM"),))
    return Flag(names, setting, "vector", count=3, help=help, **more)


def _convention(name: str) -> Flag:
    default = name if name == "MOSFLM" else None
    help = f"{name} detector convention: overwrites every vector given"
    return Flag(f"-{name.lower()}", "convention", constant=name, default=default, help=help)


BEAM = (("pivot", "beam"),)
SAMPLE = (("pivot", "sample"),)
BY_NAME = "miniCBF (.cbf), NeXus (.h5 .hdf5 .nxs) or npy (.npy)"

GROUPS: dict[str, tuple[Flag, ...]] = {
    "Structure factors": (
        Flag("-hkl", "hkl_path", "path", help="structure factors: a text file of h k l F records"),
        Flag("-default_F", "default_F", "float", default=0.0, help="F of every reflection that no record names"),
        Flag("-dump", "dump_path", "path", default="Fdump.bin", help="binary cache of the structure factors"),
        Flag("-mtz", "mtz_path", "path", help="structure factors from a merged MTZ file"),
        Flag("-mtz_column", "mtz_column", "word", help="its column, F(+) for a Friedel pair (the usual amplitudes)"),
        Flag("-sfcif", "sfcif_path", "path", help="structure factors from a structure-factor mmCIF file"),
        Flag("-pdb", "pdb_path", "path", help="structure factors computed from a PDB or mmCIF model"),
        Flag("-k_sol", "k_sol", "float", "e/A^3", ">= 0", 0.35, help="density of the model's bulk solvent"),
        Flag("-b_sol", "b_sol", "float", "A^2", ">= 0", 46.0, help="B factor of the model's bulk solvent"),
    ),
    "Experiment": (
        Flag("-config", "config_path", "path", help="the whole run from a file of -save_config; flags beside it win"),
        Flag("-save_config", "save_config_path", "path", help="write the whole run, readable and editable (JSON)"),
        Flag("-expt", "expt_path", "path", help="DIALS experiment list: detector, beam, crystal, goniometer and scan"),
        Flag("-expt_index", "expt_index", "int", "", ">= 0", 0, help="which of its experiments, from 0"),
        Flag("-expt_panel", "expt_panel", "int", "", ">= 0", help="only this panel of its detector, from 0"),
    ),
    "Crystal": (
        Flag("-mat -matrix", "mat_path", "path", help="orientation matrix: nine numbers, columns a* b* c*"),
        Flag("-cell", "cell", "cell", "A, deg", help="unit cell; missing edges equal a, missing angles are 90"),
        Flag("-misset", "misset_deg", "misset", "deg", default=(0.0, 0.0, 0.0), help="rotation about x, y, then z"),
        Flag("-misset_seed", "misset_seed", "int", bounds=SEED, help="seed of -misset random"),
        Flag("-N", "Na Nb Nc", "int", default=1, convert=_at_least_one, help="unit cells along each of a, b and c"),
        Flag("-Na", "Na", "int", default=1, convert=_at_least_one, help="unit cells along a"),
        Flag("-Nb", "Nb", "int", default=1, convert=_at_least_one, help="unit cells along b"),
        Flag("-Nc", "Nc", "int", default=1, convert=_at_least_one, help="unit cells along c"),
        Flag("-samplesize -sample_size -xtalsize -xtal_size", "sample_x_mm sample_y_mm sample_z_mm",
             "float", "mm", ">= 0", help="edge of the crystal along a, b and c; above 0 it sets Na, Nb and Nc"),
        Flag("-sample_x -xtal_x -sample_thick… -xtal_thick…", "sample_x_mm", "float", "mm", ">= 0",
             help="edge of the crystal along a (the thickness)"),
        Flag("-sample_y -xtal_y -sample_width -xtal_width -width", "sample_y_mm", "float", "mm", ">= 0",
             help="edge of the crystal along b (the width), clipped to the beam size"),
        Flag("-sample_z -xtal_z -sample_heigh… -xtal_heigh… -heigh…", "sample_z_mm", "float", "mm", ">= 0",
             help="edge of the crystal along c (the height), clipped to the beam size"),
        Flag("-square_xtal", "xtal_shape", constant="square", default="square", help="parallelepiped crystal"),
        Flag("-round_xtal", "xtal_shape", constant="round", help="ellipsoid crystal"),
        Flag("-gauss_xtal", "xtal_shape", constant="gauss", help="gaussian spots"),
        Flag("-tophat_spots -binary_spots", "xtal_shape", constant="tophat", help="spots of one height and sharp edge"),
        Flag("-fudge", "fudge", "float", "", "> 0", 1.0, help="scale of the spot radius; not for square crystals"),
        Flag("-mosaic -mosaici… -mosaic_spr…", "mosaic_deg", "float", "deg", ">= 0", help="mosaic spread"),
        Flag("-mosaic_dom…", "mosaic_domains", "int", "", ">= 0", help="mosaic domains (10 if only a spread is given)"),
        Flag("-mosaic_seed", "mosaic_seed", "int", "", SEED, 12345678, help="seed of the mosaic domains"),
    ),
    "Detector": (
        Flag("-distance", "distance_mm", "float", "mm", "> 0", 100.0, also=BEAM,
             help="sample to detector along the beam; pivot beam"),
        Flag("-close_distance", "close_distance_mm", "float", "mm", "> 0", also=SAMPLE,
             help="shortest distance from the sample to the detector plane; pivot sample"),
        Flag("-pixel", "pixel_mm", "float", "mm", "> 0", 0.1, help="edge of a pixel"),
        Flag("-detpixels", "detpixels_f detpixels_s", "int", "", ">= 1", help="pixels on both axes; wins over a size"),
        Flag("-detpixels_f -detpixels_x", "detpixels_f", "int", "", ">= 1", help="pixels on the fast axis"),
        Flag("-detpixels_s -detpixels_y", "detpixels_s", "int", "", ">= 1", help="pixels on the slow axis"),
        Flag("-detsize", "detsize_f_mm detsize_s_mm", "float", "mm", "> 0", 102.4, help="detector edge on both axes"),
        Flag("-detsize_f", "detsize_f_mm", "float", "mm", "> 0", 102.4, help="detector edge on the fast axis"),
        Flag("-detsize_s", "detsize_s_mm", "float", "mm", "> 0", 102.4, help="detector edge on the slow axis"),
        Flag("-Xbeam", "Xbeam_mm", "float", "mm", also=BEAM, help="beam centre X of the convention; pivot beam"),
        Flag("-Ybeam", "Ybeam_mm", "float", "mm", also=BEAM, help="beam centre Y of the convention; pivot beam"),
        Flag("-Xclose", "Xclose_mm", "float", "mm", also=SAMPLE, help="point nearest to the sample, X; pivot sample"),
        Flag("-Yclose", "Yclose_mm", "float", "mm", also=SAMPLE, help="point nearest to the sample, Y; pivot sample"),
        Flag("-ORGX", "ORGX_pixels", "float", "pixels", also=SAMPLE, help="the same as in XDS, X; pivot sample"),
        Flag("-ORGY", "ORGY_pixels", "float", "pixels", also=SAMPLE, help="the same as in XDS, Y; pivot sample"),
        Flag("-pivot", "pivot_explicit pivot", "word", choices=("beam", "sample"),
             help="what stays in place when the detector turns: the beam spot or the sample's nearest point"),
        Flag("-detector_rotx", "detector_rotx_deg", "float", "deg", default=0.0, help="rotation about lab x, first"),
        Flag("-detector_roty", "detector_roty_deg", "float", "deg", default=0.0, help="rotation about lab y, second"),
        Flag("-detector_rotz", "detector_rotz_deg", "float", "deg", default=0.0, help="rotation about lab z, third"),
        Flag("-twotheta", "twotheta_deg", "float", "deg", default=0.0, also=SAMPLE, help="swing; pivot sample"),
        *(_convention(name) for name in ("MOSFLM", "XDS", "ADXV", "DENZO", "DIALS")),
        _vector("-fdet_vector", "fdet_vector", "direction of the fast axis; selects the CUSTOM convention"),
        _vector("-sdet_vector", "sdet_vector", "direction of the slow axis; CUSTOM"),
        _vector("-odet_vector", "odet_vector", "detector normal; CUSTOM. Not of unit length: fast x slow replaces it"),
        _vector("-beam_vector", "beam_vector", "direction of the beam, sample to detector; CUSTOM"),
        _vector("-polar_vector", "polar_vector", "direction of the polarisation; CUSTOM"),
        _vector("-spindle_axis", "spindle_axis", "direction of the spindle; CUSTOM"),
        _vector("-twotheta_axis", "twotheta_axis", "axis of the two-theta swing; CUSTOM"),
        _vector("-pix0_vector", "pix0_vector", "outer corner of the first pixel; CUSTOM", unit="m",
                also=(("pix0_vector_unit", "m"), ("convention", "CUSTOM"))),
        _vector("-pix0_vector_mm", "pix0_vector", "the same in mm (c-parity uses neither's numbers)", unit="mm",
                also=(("pix0_vector_unit", "mm"), ("convention", "CUSTOM"))),
        Flag("-curved_det…", "curved_detector", default=False, help="every pixel at the same distance"),
        Flag("-point_pixel", "point_pixel", default=False, help="solid angle without size and obliquity of the pixel"),
        Flag("-detector_abs…", "detector_abs_um", "depth", "um", ">= 0",
             help="attenuation depth; inf or 0: no absorption, and the thickness so far is forgotten"),
        Flag("-detector_thick -detector_thickness", "detector_thick_um", "float", "um", ">= 0", 0.0,
             help="thickness of the sensor"),
        Flag("-detector_thicksteps -thicksteps", "detector_thicksteps", "int", "", ">= 0", help="layers of the sensor"),
        Flag("-roi", "roi", "int", "pixels", ">= 0", count=4,
             help="rendered pixels: fast range, slow range, ends included"),
        Flag("-mask", "mask_path", "path", help="SMV file: its header is used, pixels of value 0 are not rendered"),
        Flag("-img", "img_path", "path", help="SMV file whose header is used"),
    ),
    "Beam": (
        Flag("-lambda -wave…", "wavelength_A", "float", "A", "> 0", 1.0, help="wavelength"),
        Flag("-energy", "wavelength_A", "float", "eV", "> 0", convert=lambda energy: EV_ANGSTROM / energy,
             help="photon energy instead of the wavelength"),
        Flag("-fluence", "fluence_per_m2", "float", "photons/m^2", ">= 0", 1.25932015286227086e29, help="fluence"),
        Flag("-flux", "flux_per_s", "float", "photons/s", ">= 0", 0.0,
             help="not 0: fluence = flux exposure/beamsize^2"),
        Flag("-exposure", "exposure_s", "float", "s", "> 0", 1.0, help="exposure time, used with -flux"),
        Flag("-beamsize", "beamsize_mm", "float", "mm", ">= 0", 0.1, help="edge of the square beam"),
        Flag("-dispersion", "dispersion_percent", "float", "%", ">= 0", help="spectral width"),
        Flag("-dispsteps", "dispsteps", "int", "", ">= 0", help="wavelengths across the width"),
        Flag("-divergence", "hdivrange_mrad vdivrange_mrad", "float", "mrad", ">= 0", help="divergence both ways"),
        Flag("-hdivrange", "hdivrange_mrad", "float", "mrad", ">= 0", help="horizontal divergence"),
        Flag("-vdivrange", "vdivrange_mrad", "float", "mrad", ">= 0", help="vertical divergence"),
        Flag("-hdivstep", "hdivstep_mrad", "float", "mrad", ">= 0", help="step of the horizontal divergence"),
        Flag("-vdivstep", "vdivstep_mrad", "float", "mrad", ">= 0", help="step of the vertical divergence"),
        Flag("-divsteps", "hdivsteps vdivsteps", "int", "", ">= 0", help="divergence points, both directions"),
        Flag("-hdivsteps", "hdivsteps", "int", "", ">= 0", help="points of the horizontal divergence"),
        Flag("-vdivsteps", "vdivsteps", "int", "", ">= 0", help="points of the vertical divergence"),
        Flag("-round_div", "round_div", default=True, help="cut the corners of the divergence grid"),
        Flag("-square_div", "round_div", constant=False, help="keep the corners of the divergence grid"),
        Flag("-spectrum", "spectrum_path", "path", help="spectrum: energy (eV) or wavelength (A), weight, one a line"),
        Flag("-sourcefile", "source_path", "path", help="sources: X Y Z weight wavelength(m), one a line"),
        Flag("-polar", "polarization", "float", "", "from -1 to 1", 0.0, also=(("nopolar", False),),
             help="Kahn factor"),
        Flag("-nopolar", "nopolar", default=False, help="no polarisation factor"),
    ),
    "Rotation": (
        Flag("-phi", "phi_deg", "float", "deg", default=0.0, help="spindle angle at the start"),
        Flag("-osc", "osc_deg", "float", "deg", ">= 0", help="range of the rotation"),
        Flag("-phistep", "phistep_deg", "float", "deg", ">= 0", help="angle from one phi step to the next"),
        Flag("-phisteps", "phisteps", "int", "", ">= 0", help="number of phi steps"),
    ),
    "Sampling": (
        Flag("-oversample", "oversample", "int", "", ">= 1", help="sub-pixels along each edge (from the spot size)"),
        Flag("-oversample_thick", "oversample_thick", default=False, help="absorption for each sub-pixel"),
        Flag("-oversample_polar", "oversample_polar", default=False, help="polarisation for each sub-pixel"),
        Flag("-oversample_omega", "oversample_omega", default=False, help="solid angle for each sub-pixel"),
        Flag("-dmin", "dmin_A", "float", "A", ">= 0", 0.0, help="nothing beyond this resolution"),
        Flag("-interpolate", "interpolate", help="tricubic interpolation of F (on if any of Na, Nb, Nc is 2 or less)"),
        Flag("-nointerpolate", "interpolate", constant=False, help="F of the nearest index"),
        Flag("-water", "water_um", "float", "um", ">= 0", 0.0, help="background of this much water"),
        Flag("-stol", "stol_path", "path",
             help="amorphous sample: water, air, ice, or a table of sin(theta)/lambda (1/A) and F (electrons)"),
        Flag("-amorphous_sample_thick -amorphous_thick", "amorphous_thick_mm", "float", "mm", ">= 0",
             help="its thickness along the beam"),
        Flag("-amorphous_density", "amorphous_density", "float", "g/cm3", ">= 0", help="its density (known if named)"),
        Flag("-amorphous_molecular_weight -amorphous_MW", "amorphous_weight", "float", "Da", "> 0",
             help="its molecular weight (known if named)"),
        Flag("-mode", "mode", "word", choices=MODES, default="spec",
             help="documented physics, or the reference's slips"),
        Flag("-precision", "precision", "word", choices=PRECISIONS,
             help="of the computation; mixed: single from a geometry in double (default: what jax is set to)"),
        Flag("--phi-carryover-mode", "mode", "word", choices=MODES, help="another name of -mode"),
    ),
    "Output": (
        Flag("-floatfile -floatimage", "float_path", "path", default="floatimage.bin",
             help=f"image of photons: raw float32, or by its name {BY_NAME}"),
        Flag("-intfile -intimage", "int_path", "path", default="intimage.img",
             help=f"image of scaled counts without noise: SMV, or by its name {BY_NAME}"),
        Flag("-pgmfile -pgmimage", "pgm_path", "path", default="image.pgm", also=(("write_pgm", True),),
             help="PGM image"),
        Flag("-nopgm", "write_pgm", constant=False, default=True, help="no PGM image"),
        Flag("-noisefile -noiseimage", "noise_path", "path", default="noiseimage.img", also=(("write_noise", True),),
             help=f"image of counts with noise: SMV, or by its name {BY_NAME}"),
        Flag("-nonoise", "write_noise", constant=False, default=True, help="no noise image"),
        Flag("-png", "png_path", "path", help="PNG preview of the photons, on a logarithmic scale"),
        Flag("-png_rings", "png_rings", default=False, help="resolution rings in the preview"),
        Flag("-scale", "int_scale", "float", "", "> 0", help="scale of the integer image (brightest pixel to 55000)"),
        Flag("-pgmscale", "pgm_scale", "float", "", "> 0", help="scale of the PGM image (five rmsd to 250)"),
        Flag("-adc", "adc_offset", "float", default=40.0, help="offset of the integer and the noise image"),
        Flag("-seed", "noise_seed", "int", bounds=SEED, help="seed of the noise"),
        Flag("-printout", "printout", default=False, help="report of every pixel"),
        Flag("-printout_pixel", "printout_pixel", "int", "", ">= 0", count=2, also=(("printout", True),),
             help="report of this pixel only"),
        Flag("-progress", "progress", default=True, help="progress meter"),
        Flag("-noprogress", "progress", constant=False, help="no progress meter"),
    ),
    "Noise image": (
        Flag("-flicker", "flicker_percent", "float", "%", ">= 0", help="rms change of the beam from shot to shot"),
        Flag("-psf", "psf", "word", choices=("gauss", "fiber"), help="shape of the detector's point-spread function"),
        Flag("-psf_fwhm -fwhm", "psf_fwhm_mm", "float", "mm", "> 0", help="its full width at half maximum"),
        Flag("-calibnoise", "calibnoise_percent", "float", "%", ">= 0", help="rms error of a pixel's sensitivity"),
        Flag("-gain", "gain", "float", "ADU/photon", "> 0", help="reading of one photon (1)"),
        Flag("-readnoise", "readnoise_adu", "float", "ADU", ">= 0", help="rms noise of reading a pixel"),
        Flag("-saturation", "saturation_adu", "float", "ADU", "> 0", help="largest reading (65535)"),
        Flag("-dead", "dead_percent", "float", "%", "from 0 to 100", help="pixels that read 0, drawn at random"),
        Flag("-detector_seed", "detector_seed", "int", "", SEED, 1, help="seed of -calibnoise and -dead"),
    ),
    "Without effect": (
        Flag("-4stol", kind="ignored"), Flag("-Q", kind="ignored"),
        Flag("-stolout", kind="ignored"), Flag("-coherent"), Flag("-density", kind="ignored"),
        Flag("-MW -molec…", kind="ignored"),
    ),
    "About": (
        Flag("--help -h", "help", default=False, help="this list"),
        Flag("--version", "version", default=False, help="the version of this program"),
    ),
}  # fmt: skip

FLAGS: tuple[Flag, ...] = tuple(flag for group in GROUPS.values() for flag in group)
NOISE_FLAGS = GROUPS["Noise image"]


def _key(spelling: str) -> str:
    """A spelling with one leading dash: `--distance` and `-distance` are the same flag."""
    return spelling[1:] if spelling.startswith("--") else spelling


_EXACT = {_key(name).rstrip("…"): flag for flag in FLAGS for name in flag.spellings}
_OPEN = {_key(name)[:-1]: flag for flag in FLAGS for name in flag.spellings if name.endswith("…")}

# A setting that only side effects set has no default of its own: its first flag with a default decides, else None.
DEFAULTS: dict[str, object] = {"pivot": None, "pix0_vector_unit": None}
for _flag in FLAGS:
    for _setting in _flag.settings:
        DEFAULTS[_setting] = _flag.default if DEFAULTS.get(_setting) is None else DEFAULTS[_setting]


def find(spelling: str) -> Flag:
    """The flag of a spelling, with one dash or two; InputError, with the nearest known one, if there is none."""
    key = _key(spelling)
    if key in _EXACT:
        return _EXACT[key]
    stems = [stem for stem in _OPEN if key.startswith(stem)]
    if stems:
        return _OPEN[max(stems, key=len)]
    known = {name.lower(): name for name in reversed(_EXACT)}
    near = difflib.get_close_matches(key.lower(), known, n=1)
    hint = f"did you mean {known[near[0]]}?" if near else "--help lists all flags"
    raise InputError(f"unknown flag {spelling}: {hint}")


def parse(argv: Sequence[str]) -> Settings:
    """What the arguments (without the program's name) ask for; see `Settings`.

    Order matters as in the reference: the last flag wins, each flag that moves the pivot or selects a convention does
    so when it is read, and `-detector_abs inf` forgets the thickness so far. Parsing stops at --help or --version.
    Raises InputError for unknown flags, missing, stray, malformed and impossible values.
    """
    words = [str(word) for word in argv]
    settings = Settings()
    i = 0
    while i < len(words):
        spelling = words[i]
        if not _is_flag(spelling):
            raise InputError(f"{spelling!r} belongs to no flag: a value follows the flag that it is for")
        flag = find(spelling)
        following = list(takewhile(lambda word: not _is_flag(word), words[i + 1 :]))
        value, used = _read(flag, spelling, following, settings.notes)
        if used < len(following):
            raise InputError(f"{following[used]!r} belongs to no flag: {spelling} takes {flag.takes}")
        also = flag.also + ((("detector_thick_um", 0.0),) if value == math.inf else ())
        for name in flag.settings:
            _assign(settings, spelling, name, value)
        for name, implied in also:
            _assign(settings, spelling, name, implied)
        if not flag.settings:
            settings.notes.append(f"{spelling} has no effect")
        i += 1 + used
        if flag.setting in ("help", "version"):
            return settings
    settings.notes.extend(_without_effect(settings))
    return settings


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not _NUMBER.fullmatch(word) and not _NOT_FINITE.fullmatch(word)


def _assign(settings: Settings, spelling: str, name: str, value: object) -> None:
    """Set one setting, with a note when it changes what an earlier flag said (not what one merely implied)."""
    earlier = settings.flag_of(name)
    if earlier and name in find(earlier).settings and settings.values[name] != value and name != "pivot":
        settings.notes.append(f"{spelling} wins over the earlier {earlier} ({name})")
    settings.values[name] = value
    settings.given.append((spelling, name, value))


def _read(flag: Flag, spelling: str, words: list[str], notes: list[str]) -> tuple[object, int]:
    """Value of one flag from the words up to the next flag, and how many of them it used."""
    if flag.kind == "switch":
        return flag.constant, 0
    if flag.kind == "ignored":
        return None, min(len(words), 1)
    if not words:
        raise InputError(f"flag {spelling} needs {flag.takes}, got none")
    first = words[0]
    if flag.kind in ("path", "word"):
        if not first or first.startswith("-") or (flag.choices and first not in flag.choices):
            raise InputError(f"flag {spelling} needs {flag.takes}, got {first!r}")
        return first, 1
    if flag.kind == "misset" and first == "random":
        return first, 1
    if flag.kind == "depth" and re.fullmatch(r"\+?inf(inity)?", first, re.IGNORECASE):
        return math.inf, 1
    if flag.kind == "cell":
        return _cell(flag, spelling, words[:6])
    count = 3 if flag.kind == "misset" else flag.count
    values = [_number(flag, spelling, word, notes) for word in words[:count]]
    if len(values) < count:
        raise InputError(f"flag {spelling} needs {flag.takes}, got {len(values)}")
    if flag.kind == "vector" and not any(values) and flag.setting not in ("odet_vector", "pix0_vector"):
        raise InputError(f"{spelling} must have a direction, got 0 0 0")
    if flag.setting == "roi" and (values[0] > values[1] or values[2] > values[3]):
        raise InputError(f"{spelling} must be xmin <= xmax and ymin <= ymax (pixels), got {' '.join(words[:4])}")
    if flag.kind == "depth" and values[0] == 0:
        return math.inf, 1
    return (values[0] if count == 1 else tuple(values)), count


def _number(flag: Flag, spelling: str, word: str, notes: list[str]) -> float:
    """One number inside the flag's bounds; int for an integer flag."""
    is_int = flag.kind == "int"
    if _NOT_FINITE.fullmatch(word):
        raise InputError(f"{spelling} must be finite, got {word}")
    if not (_INTEGER if is_int else _NUMBER).fullmatch(word):
        raise InputError(f"flag {spelling} needs {flag.takes}, got {word!r}")
    number = float(word)
    if math.isinf(number) or (is_int and abs(number) > LARGEST_INT):
        raise InputError(f"{spelling} is too large, got {word}")
    number = int(number) if is_int else number
    if not BOUNDS[flag.bounds](number):
        raise InputError(f"{spelling} must be {flag.bounds}{f' ({flag.unit})' if flag.unit else ''}, got {word}")
    value = flag.convert(number) if flag.convert else number
    if flag.convert is _at_least_one and value != number:
        notes.append(f"{spelling} {word}: fewer than one unit cell, 1 is taken")
    if flag.bounds == SEED and number < 1:
        notes.append(f"{spelling} {word}: the reference's generator takes a seed below 1 as 1")
    if value == math.inf:
        raise InputError(f"{spelling} is too small, got {word}")
    return value


def _cell(flag: Flag, spelling: str, words: list[str]) -> tuple[object, int]:
    """Six cell parameters (A, degrees) from one to six numbers, checked to span a volume."""
    numbers = [_number(flag, spelling, word, []) for word in words]
    edges = (numbers[:3] + 2 * numbers[:1])[:3]
    angles = (numbers[3:] + 3 * [90.0])[:3]
    text = " ".join(words)
    if min(edges) <= 0:
        raise InputError(f"{spelling}: edges must be > 0 (A), got {text}")
    if not all(0 < angle < 180 for angle in angles):
        raise InputError(f"{spelling}: angles must be between 0 and 180 (deg), got {text}")
    if sum(angles) >= 360 or 2 * max(angles) >= sum(angles):
        raise InputError(f"{spelling}: no cell has the angles {' '.join(f'{angle:g}' for angle in angles)} (deg)")
    return (*edges, *angles), len(words)


_VECTORS = tuple(flag.setting for flag in FLAGS if flag.kind == "vector")
_AMORPHOUS = ("stol_path", "amorphous_thick_mm", "amorphous_density", "amorphous_weight")
_NOISE = tuple(flag.setting for flag in NOISE_FLAGS)
_GRID = tuple(flag.setting for flag in GROUPS["Beam"] if flag.setting.startswith(("hdiv", "vdiv", "disp", "round_")))


def _without_effect(settings: Settings) -> list[str]:
    """Notes on flags that others of the line make useless, in both modes."""
    get = settings.get
    convention, flux = get("convention"), get("flux_per_s")
    no_mosaic = not get("mosaic_deg") and get("config_path") is None
    parity = get("mode") == "c-parity"
    pattern = get("calibnoise_percent") or get("dead_percent")
    rules = (
        (_VECTORS, convention != "CUSTOM", f"has no effect with the {convention} convention, which comes later"),
        (("detsize_f_mm",), "detpixels_f" in settings, "has no effect beside a pixel count"),
        (("detsize_s_mm",), "detpixels_s" in settings, "has no effect beside a pixel count"),
        (("fluence_per_m2",), flux, "has no effect beside -flux"),
        (("exposure_s",), not flux, "has no effect without -flux"),
        (_GRID, "source_path" in settings, "has no effect with -sourcefile"),
        (("misset_seed",), get("misset_deg") != "random", "has no effect without -misset random"),
        (
            ("mosaic_seed",),
            no_mosaic,
            "has no effect without a mosaic spread",
        ),
        (("fudge",), get("xtal_shape") == "square", "has no effect on square crystals"),
        (("polarization",), get("nopolar"), "has no effect with -nopolar"),
        (("noise_seed", *_NOISE), not get("write_noise"), "has no effect with -nonoise"),
        (("psf_fwhm_mm",), not get("psf"), "has no effect without -psf"),
        (("detector_seed",), not pattern, "has no effect without -calibnoise or -dead"),
        (_AMORPHOUS, parity, "has no effect in c-parity"),
        (_AMORPHOUS[:1], not parity and not get("amorphous_thick_mm"), "has no effect without -amorphous_sample_thick"),
        (_AMORPHOUS[1:], not parity and not get("stol_path"), "has no effect without -stol"),
        (("pgm_scale",), not get("write_pgm"), "has no effect with -nopgm"),
        (("png_rings",), get("png_path") is None, "has no effect without -png"),
    )
    seen: dict[str, None] = {}
    for names, useless, why in rules:
        for name in names:
            if useless and name in settings:
                seen[f"{settings.flag_of(name)} {why}"] = None
    return list(seen)


def _default_text(flag: Flag) -> str:
    if flag.default is None or flag.default is False or not flag.settings:
        return ""
    if flag.kind == "switch":
        return "the default" if flag.constant == flag.default else ""
    words = flag.default if isinstance(flag.default, tuple) else (flag.default,)
    return "default " + " ".join(f"{word:g}" if word in (0.0, 1.0, 40.0, 100.0) else str(word) for word in words)


def help_text() -> str:
    """The list of flags for --help: groups, spellings, units and defaults."""
    lines = ["One dash or two; values follow the flag; the last of several wins."]
    for title, flags in GROUPS.items():
        lines += ["", f"{title}:"]
        for flag in flags:
            lines.append(f"  {' | '.join(flag.spellings)} {flag.argument}".rstrip().replace("…", "..."))
            unit = f"in {flag.unit}" if flag.unit and flag.unit not in flag.argument else ""
            text = "; ".join(part for part in (flag.help, unit, _default_text(flag)) if part)
            if text:
                lines.append(textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """The flag table for the documentation, in Markdown."""
    lines = ["| group | flag | value | effect | allowed | default | setting |", "|" + "---|" * 7]
    for title, flags in GROUPS.items():
        for flag in flags:
            names = " ".join(f"`{name}`" for name in flag.spellings)
            settings = " ".join(f"`{name}`" for name in flag.settings)
            default = _default_text(flag).removeprefix("default ")
            effect = flag.help or "read, and of no effect"
            unit = f" ({flag.unit})" if flag.unit and flag.unit not in flag.argument else ""
            cells = (title, names, flag.argument + unit, effect, flag.bounds, default, settings)
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
