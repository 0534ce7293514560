"""The one table of command-line flags: the parser, the help, the documentation and the assembly are made from it.

Source: docs/reference.md section 1. Nothing here reads a file or knows jax; values stay in the flag's own unit,
which is also in the name of the setting.
"""

import difflib

from ...constants import (
    DEFAULT_B_SOL_A2,
    DEFAULT_BEAM_SIZE_MM,
    DEFAULT_FLUENCE_PER_M2,
    DEFAULT_K_SOL_E_PER_A3,
    EV_ANGSTROM,
    INT_PEAK,
    LARGEST_COUNT,
    MODES,
    PHI_SAMPLINGS,
    PRECISIONS,
    PSF_SHAPES,
)
from ...errors import InputError
from ...reference.random_numbers import DEFAULT_MOSAIC_SEED
from ...spot_shapes import SPOT_SHAPES
from .flag import SEED, Flag


def at_least_one_cell(n: float) -> int:
    """Whole unit cells; the parser notes it where one is taken instead of fewer."""
    return max(int(n), 1)


def _at_least_one(n: float) -> int:
    return max(int(n), 1)


def _vector(
    names: str, setting: str, help: str, field: str = "", unit: str = "", also: tuple[tuple[str, object], ...] = ()
) -> Flag:
    selects = (*also, ("convention", "CUSTOM"))
    return Flag(names, setting, "vector", unit, count=3, also=selects, field=field, help=help)


def _convention(name: str) -> Flag:
    default = name if name == "MOSFLM" else None
    help = f"{name} detector convention: overwrites every vector given"
    field = "detector.convention"
    return Flag(f"-{name.lower()}", "convention", constant=name, default=default, field=field, help=help)


BEAM = (("pivot", "beam"),)
SAMPLE = (("pivot", "sample"),)
BY_NAME = "miniCBF (.cbf), NeXus (.h5 .hdf5 .nxs) or npy (.npy)"

GROUPS: dict[str, tuple[Flag, ...]] = {
    "Structure factors": (
        Flag("-hkl", "hkl_path", "path",
             help="structure factors: a text file of h k l F records, or a list of CrystFEL, XDS (merged) or SHELX"),
        Flag("-default_F", "default_F", "float", default=0.0, field="structure_factors.default_F",
             help="F of every reflection that no record names"),
        Flag("-F000", "F000", "float", "electrons", ">= 0",
             help="F(000), the direct beam's (0 with -pdb, unless F is interpolated; else as the file has it)"),
        Flag("-dump", "dump_path", "path", default="Fdump.bin", help="binary cache of the structure factors"),
        Flag("-mtz", "mtz_path", "path", help="structure factors from a merged MTZ file"),
        Flag("-mtz_column", "mtz_column", "word", help="its column, F(+) for a Friedel pair (the usual amplitudes)"),
        Flag("-sfcif_column", "sfcif_column", "word", help="its item of _refln (the usual amplitudes)"),
        Flag("-sfcif", "sfcif_path", "path",
             help="structure factors from a structure-factor mmCIF file, or a .fcf of SHELX"),
        Flag("-pdb", "pdb_path", "path",
             help="structure factors computed from a PDB or mmCIF model, or the CIF of a small molecule"),
        Flag("-box", "model_box", "float", "", "> 0",
             help="the model's molecule alone, in a box so many times its size (2 or more, 4 is good): the cell"),
        Flag("-k_sol", "k_sol", "float", "e/A^3", ">= 0", DEFAULT_K_SOL_E_PER_A3,
             help="density of the model's bulk solvent"),
        Flag("-b_sol", "b_sol", "float", "A^2", ">= 0", DEFAULT_B_SOL_A2, help="B factor of the model's bulk solvent"),
    ),
    "Experiment": (
        Flag("-config", "config_path", "path", help="the whole run from a file of -save_config; flags beside it win"),
        Flag("-config_anywhere", "config_anywhere", default=False,
             help="its arrays may lie in files outside its folder"),
        Flag("-save_config", "save_config_path", "path", help="write the whole run, readable and editable (JSON)"),
        Flag("-expt", "expt_path", "path",
             help="DIALS experiment list: detector, beam, crystal, goniometer and scan; or a CrystFEL geometry"),
        Flag("-expt_index", "expt_index", "int", "", ">= 0", 0, help="which of its experiments, from 0"),
        Flag("-expt_image", "expt_image", "image", "", ">= 0",
             help="which image of its scan (the first); all: every one, with what changes along the scan"),
        Flag("-expt_polarization", "expt_polarization", "word", default="dials", choices=("dials", "diffbragg"),
             help="what its polarization fraction f means: a Kahn factor of 2 f - 1, or f itself as in diffBragg"),
        Flag("-expt_panel", "expt_panel", "int", "", ">= 0", help="only this panel of its detector, from 0"),
    ),
    "Crystal": (
        Flag("-mat -matrix", "mat_path", "path", help="orientation matrix: nine numbers, columns a* b* c*"),
        Flag("-cell", "cell", "cell", "A, deg", help="unit cell; missing edges equal a, missing angles are 90"),
        Flag("-crystals", "crystals_path", "path",
             help="several crystals in one image: a file with the flags of one in each line"),
        Flag("-misset", "misset_deg", "misset", "deg", default=(0.0, 0.0, 0.0), field="crystal.misset_deg",
             help="rotation about x, y, then z"),
        Flag("-misset_seed", "misset_seed", "int", bounds=SEED, help="seed of -misset random"),
        Flag("-N", "Na Nb Nc", "int", default=1, convert=at_least_one_cell,
             field="crystal.n_cells.0 crystal.n_cells.1 crystal.n_cells.2",
             help="unit cells along each of a, b and c"),
        Flag("-Na", "Na", "int", default=1, convert=at_least_one_cell, field="crystal.n_cells.0",
             help="unit cells along a"),
        Flag("-Nb", "Nb", "int", default=1, convert=at_least_one_cell, field="crystal.n_cells.1",
             help="unit cells along b"),
        Flag("-Nc", "Nc", "int", default=1, convert=at_least_one_cell, field="crystal.n_cells.2",
             help="unit cells along c"),
        Flag("-samplesize -sample_size -xtalsize -xtal_size", "sample_x_mm sample_y_mm sample_z_mm",
             "float", "mm", ">= 0", help="edge of the crystal along a, b and c; above 0 it sets Na, Nb and Nc"),
        Flag("-sample_x -xtal_x -sample_thick… -xtal_thick…", "sample_x_mm", "float", "mm", ">= 0",
             help="edge of the crystal along a (the thickness)"),
        Flag("-sample_y -xtal_y -sample_width -xtal_width -width", "sample_y_mm", "float", "mm", ">= 0",
             help="edge of the crystal along b (the width), clipped to the beam size"),
        Flag("-sample_z -xtal_z -sample_heigh… -xtal_heigh… -heigh…", "sample_z_mm", "float", "mm", ">= 0",
             help="edge of the crystal along c (the height), clipped to the beam size"),
        *(
            Flag(shape.flags, "xtal_shape", constant=shape.name, field="crystal.shape", help=shape.help,
                 default="square" if shape.name == "square" else None)
            for shape in SPOT_SHAPES.values()
        ),
        Flag("-shape", "xtal_shape", "word", choices=tuple(SPOT_SHAPES), field="crystal.shape",
             help="spot shape by its name"),
        Flag("-N_off", "n_cells_off_diagonal", "float", count=3,
             help="off-diagonal elements of the size matrix of gauss: a with b, b with c, a with c"),
        Flag("-fudge", "fudge", "float", "", "> 0", 1.0, field="crystal.fudge",
             help="scale of the spot radius; not for square crystals"),
        Flag("-crystal_scale", "crystal_scale", "float", "", "> 0", 1.0, field="crystal.scale",
             help="how many such crystals the beam meets: their photons, and not those of water, are multiplied"),
        Flag("-mosaic -mosaici… -mosaic_spr…", "mosaic_deg", "float", "deg", ">= 0",
             field="crystal.mosaicity.spread_deg",
             help="mosaic spread"),
        Flag("-mosaic_dom…", "mosaic_domains", "int", "", ">= 0", help="mosaic domains (10 if only a spread is given)"),
        Flag("-eta", "eta_deg", "float", "deg", ">= 0",
             help="mosaicity as a gaussian of this standard deviation, turning with the crystal"),
        Flag("-eta_abc", "eta_abc_deg", "float", "deg", "> 0", count=3,
             help="the same about a, b and c, each with its own"),
        Flag("-diffuse_gamma", "diffuse_gamma_A", "float", "A", ">= 0", count=3,
             help="diffuse scattering with these correlation lengths along a, b and c"),
        Flag("-diffuse_gamma_cells", "diffuse_gamma_cells", "float", "", ">= 0", count=3,
             help="the same, in unit cells"),
        Flag("-diffuse_sigma", "diffuse_sigma_A", "float", "A", ">= 0", count=3,
             help="its root mean square displacements"),
        Flag("-diffuse_laue_group", "diffuse_laue_group", "word", default="1",
             help="its symmetry: 1 to 14, or the symbol of a Laue or space group"),
        Flag("-diffuse_stencil", "diffuse_stencil", "int", "", ">= 0", 1,
             help="lattice points to either side whose diffuse scattering counts"),
        Flag("-diffuse_frame", "diffuse_frame", "word", default="crystal", choices=("crystal", "lab"),
             help="axes of its numbers"),
        Flag("-diffuse_normalization", "diffuse_normalization", "word", default="level", choices=("level", "reference"),
             help="its level, independent of the stencil; or as diffBragg has it"),
        Flag("-diffuse_axes", "diffuse_axes", "word", default="cell", choices=("cell", "diagonal"),
             help="its principal axes: those of the cell, or a-b and a+b for a and b"),
        Flag("-diffuse_only", "diffuse_only", default=False, help="diffuse scattering without spots"),
        Flag("-mosaic_seed", "mosaic_seed", "int", "", SEED, DEFAULT_MOSAIC_SEED, help="seed of the mosaic domains"),
    ),
    "Detector": (
        Flag("-detector", "detector_name", "word",
             help="a detector by its name, as eiger16m or pilatus6m: its size, gaps, sensor, and the beam in its "
             "middle"),
        Flag("-distance", "distance_mm", "float", "mm", "> 0", 100.0, also=BEAM,
             field="detector.distance_mm", help="sample to detector along the beam; pivot beam"),
        Flag("-close_distance", "close_distance_mm", "float", "mm", "> 0", also=SAMPLE,
             field="detector.close_distance_mm",
             help="shortest distance from the sample to the detector plane; pivot sample"),
        Flag("-pixel", "pixel_mm", "float", "mm", "> 0", 0.1, field="detector.pixel_size_mm", help="edge of a pixel"),
        Flag("-detpixels", "detpixels_f detpixels_s", "int", "", ">= 1",
             field="detector.pixels_fast detector.pixels_slow",
             help="pixels on both axes; wins over a size"),
        Flag("-detpixels_f -detpixels_x", "detpixels_f", "int", "", ">= 1", field="detector.pixels_fast",
             help="pixels on the fast axis"),
        Flag("-detpixels_s -detpixels_y", "detpixels_s", "int", "", ">= 1", field="detector.pixels_slow",
             help="pixels on the slow axis"),
        Flag("-detsize", "detsize_f_mm detsize_s_mm", "float", "mm", "> 0", 102.4,
             field="detector.size_mm.0 detector.size_mm.1",
             help="detector edge on both axes"),
        Flag("-detsize_f", "detsize_f_mm", "float", "mm", "> 0", 102.4, field="detector.size_mm.0",
             help="detector edge on the fast axis"),
        Flag("-detsize_s", "detsize_s_mm", "float", "mm", "> 0", 102.4, field="detector.size_mm.1",
             help="detector edge on the slow axis"),
        Flag("-Xbeam", "Xbeam_mm", "float", "mm", also=BEAM, field="detector.beam_center_mm.0",
             help="beam centre X of the convention; pivot beam"),
        Flag("-Ybeam", "Ybeam_mm", "float", "mm", also=BEAM, field="detector.beam_center_mm.1",
             help="beam centre Y of the convention; pivot beam"),
        Flag("-Xclose", "Xclose_mm", "float", "mm", also=SAMPLE, help="point nearest to the sample, X; pivot sample"),
        Flag("-Yclose", "Yclose_mm", "float", "mm", also=SAMPLE, help="point nearest to the sample, Y; pivot sample"),
        Flag("-ORGX", "ORGX_pixels", "float", "pixels", also=SAMPLE, help="the same as in XDS, X; pivot sample"),
        Flag("-ORGY", "ORGY_pixels", "float", "pixels", also=SAMPLE, help="the same as in XDS, Y; pivot sample"),
        Flag("-pivot", "pivot_explicit pivot", "word", choices=("beam", "sample"),
             help="what stays in place when the detector turns: the beam spot or the sample's nearest point"),
        Flag("-detector_rotx", "detector_rotx_deg", "float", "deg", default=0.0, field="detector.rotations_deg.0",
             help="rotation about lab x, first"),
        Flag("-detector_roty", "detector_roty_deg", "float", "deg", default=0.0, field="detector.rotations_deg.1",
             help="rotation about lab y, second"),
        Flag("-detector_rotz", "detector_rotz_deg", "float", "deg", default=0.0, field="detector.rotations_deg.2",
             help="rotation about lab z, third"),
        Flag("-twotheta", "twotheta_deg", "float", "deg", default=0.0, also=SAMPLE, field="detector.twotheta_deg",
             help="swing; pivot sample"),
        *(_convention(name) for name in ("MOSFLM", "XDS", "ADXV", "DENZO", "DIALS")),
        _vector("-fdet_vector", "fdet_vector", "direction of the fast axis; selects the CUSTOM convention",
                "detector.fast_axis"),
        _vector("-sdet_vector", "sdet_vector", "direction of the slow axis; CUSTOM", "detector.slow_axis"),
        _vector("-odet_vector", "odet_vector", "detector normal; CUSTOM. Not of unit length: fast x slow replaces it",
                "detector.normal_axis"),
        _vector("-beam_vector", "beam_vector", "direction of the beam, sample to detector; CUSTOM", "beam.direction"),
        _vector("-polar_vector", "polar_vector", "direction of the polarisation; CUSTOM", "beam.polarization_vector"),
        _vector("-spindle_axis", "spindle_axis", "direction of the spindle; CUSTOM", "goniometer.spindle_axis"),
        _vector("-twotheta_axis", "twotheta_axis", "axis of the two-theta swing; CUSTOM", "detector.twotheta_axis"),
        _vector("-pix0_vector", "pix0_vector", "outer corner of the first pixel; CUSTOM", unit="m",
                also=(("pix0_vector_unit", "m"),)),
        _vector("-pix0_vector_mm", "pix0_vector", "the same in mm (c-parity uses neither's numbers)", unit="mm",
                also=(("pix0_vector_unit", "mm"),)),
        Flag("-curved_det…", "curved_detector", default=False, field="detector.curved",
             help="every pixel at the same distance"),
        Flag("-point_pixel", "point_pixel", default=False, field="detector.point_pixel",
             help="solid angle without size and obliquity of the pixel"),
        Flag("-detector_abs…", "detector_abs_um", "depth", "um", ">= 0",
             field="detector.attenuation_depth_um",
             help="attenuation depth; inf or 0: no absorption, and the thickness so far is forgotten"),
        Flag("-detector_thick -detector_thickness", "detector_thick_um", "float", "um", ">= 0", 0.0,
             field="detector.thickness_um", help="thickness of the sensor"),
        Flag("-detector_thicksteps -thicksteps", "detector_thicksteps", "int", "", ">= 0",
             field="detector.thickness_steps",
             help="layers of the sensor"),
        Flag("-mask", "mask_path", "path", help="SMV file: its header is used, pixels of value 0 are not rendered"),
        Flag("-img", "img_path", "path", help="SMV file whose header is used"),
    ),
    "Beam": (
        Flag("-lambda -wave…", "wavelength_A", "float", "A", "> 0", 1.0, field="beam.wavelength_A",
             help="wavelength"),
        Flag("-energy", "wavelength_A", "float", "eV", "> 0", convert=lambda energy: EV_ANGSTROM / energy,
             field="beam.wavelength_A", help="photon energy instead of the wavelength"),
        Flag("-fluence", "fluence_per_m2", "float", "photons/m^2", ">= 0", DEFAULT_FLUENCE_PER_M2,
             field="beam.fluence_per_m2",
             help="fluence"),
        Flag("-flux", "flux_per_s", "float", "photons/s", ">= 0", 0.0,
             help="not 0: fluence = flux exposure/beamsize^2"),
        Flag("-exposure", "exposure_s", "float", "s", "> 0", 1.0, help="exposure time, used with -flux"),
        Flag("-beamsize", "beamsize_mm", "float", "mm", ">= 0", DEFAULT_BEAM_SIZE_MM, help="edge of the square beam"),
        Flag("-lambda_offset", "wavelength_offset_A", "float", "A", default=0.0, field="beam.wavelength_offset_A",
             help="added to the wavelength of every source"),
        Flag("-lambda_scale", "wavelength_scale", "float", "", "> 0", 1.0, field="beam.wavelength_scale",
             help="by which the wavelength of every source is multiplied first"),
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
        Flag("-polar", "polarization", "float", "", "from -1 to 1", 0.0, also=(("polarized", True),),
             field="beam.kahn_factor", help="Kahn factor"),
        Flag("-nopolar", "polarized", constant=False, default=True, field="beam.polarized",
             help="no polarisation factor"),
    ),
    "Rotation": (
        Flag("-phi", "phi_deg", "float", "deg", default=0.0, field="goniometer.phi_deg",
             help="spindle angle at the start"),
        Flag("-osc", "osc_deg", "float", "deg", ">= 0", field="goniometer.osc_deg", help="range of the rotation"),
        Flag("-phistep", "phistep_deg", "float", "deg", ">= 0", help="angle from one phi step to the next"),
        Flag("-phisteps", "phisteps", "int", "", ">= 0", convert=_at_least_one, field="goniometer.phi_steps",
             help="number of phi steps"),
        Flag("-phi_sampling", "phi_sampling", "word", choices=PHI_SAMPLINGS, default="start",
             field="goniometer.phi_sampling",
             help="the angle that stands for a phi step: the start of its slice, or its middle (default with -expt)"),
    ),
    "Images": (
        Flag("-images", "images", "int", "", ">= 1",
             help="images of one rotation, each from where the one before has ended; only files that flags name are "
             "written, #### in a name being the number of the image"),
        Flag("-firstimage", "first_image", "int", "", ">= 1", 1, help="the number of the first of them"),
    ),
    "Sampling": (
        Flag("-oversample", "oversample", "int", "", ">= 1", field="sampling.oversample",
             help="sub-pixels along each edge (from the spot size)"),
        Flag("-oversample_thick", "oversample_thick", default=False, field="sampling.oversample_thick",
             help="absorption for each sub-pixel"),
        Flag("-oversample_polar", "oversample_polar", default=False, field="sampling.oversample_polar",
             help="polarisation for each sub-pixel"),
        Flag("-oversample_omega", "oversample_omega", default=False, field="sampling.oversample_omega",
             help="solid angle for each sub-pixel"),
        Flag("-roi", "roi", "int", "pixels", ">= 0", count=4,
             field="sampling.roi", help="rendered pixels: fast range, slow range, ends included"),
        Flag("-dmin", "dmin_A", "float", "A", ">= 0", off_at_zero=True,
             field="sampling.dmin_A", help="nothing beyond this resolution (0: everything)"),
        Flag("-beamstop", "beamstop_mm", "float", "mm", "> 0",
             help="radius of a beam stop's shadow on the detector, where nothing is rendered"),
        Flag("-dmax", "dmax_A", "float", "A", "> 0", help="the same for all that is at lower resolution than this"),
        Flag("-interpolate", "interpolate", field="sampling.interpolate",
             help="tricubic interpolation of F (on if any of Na, Nb, Nc is 2 or less)"),
        Flag("-nointerpolate", "interpolate", constant=False, field="sampling.interpolate",
             help="F of the nearest index"),
        Flag("-water", "water_um", "float", "um", ">= 0", off_at_zero=True,
             field="sampling.water_um", help="background of this much water (0: none)"),
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
        Flag("-exptfile", "exptfile_path", "path",
             help="write a DIALS experiment list: the geometry, which some image formats cannot say"),
        Flag("-scale", "int_scale", "float", "", "> 0",
             help=f"scale of the integer image (brightest pixel to {INT_PEAK:.0f})"),
        Flag("-pgmscale", "pgm_scale", "float", "", "> 0", help="scale of the PGM image (five rmsd to 250)"),
        Flag("-quantile", "scale_quantile", "float", "", "from 0 to 1",
             help="the fraction of pixels that stay within the range of the integer image, PGM and PNG without -scale "
             "or -pgmscale (their brightest pixel, five rmsd, their brightest pixel)"),
        Flag("-adc", "adc_offset", "float", default=40.0,
             help="offset of the integer and the noise image (0 in miniCBF and NeXus)"),
        Flag("-seed", "noise_seed", "int", bounds=SEED, help="seed of the noise"),
        Flag("-printout", "printout", default=False, help="report of every pixel"),
        Flag("-printout_pixel", "printout_pixel", "int", "", ">= 0", count=2, also=(("printout", True),),
             help="report of this pixel only"),
        Flag("-force", "force", default=False,
             help="render what would take longer than a day or more memory than is free"),
        Flag("-progress", "progress", default=True, help="progress meter"),
        Flag("-noprogress", "progress", constant=False, help="no progress meter"),
    ),
    "Noise image": (
        Flag("-flicker", "flicker_percent", "float", "%", ">= 0", help="rms change of the beam from shot to shot"),
        Flag("-psf", "psf", "word", choices=PSF_SHAPES, help="shape of the detector's point-spread function"),
        Flag("-psf_fwhm -fwhm", "psf_fwhm_mm", "float", "mm", "> 0", help="its full width at half maximum"),
        Flag("-calibnoise", "calibnoise_percent", "float", "%", ">= 0", help="rms error of a pixel's sensitivity"),
        Flag("-gain", "gain", "float", "ADU/photon", "> 0", help="reading of one photon (1)"),
        Flag("-readnoise", "readnoise_adu", "float", "ADU", ">= 0", help="rms noise of reading a pixel"),
        Flag("-saturation", "saturation_adu", "float", "ADU", "> 0", help=f"largest reading ({LARGEST_COUNT})"),
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

FIELDS = {name: at for flag in FLAGS for name, at in zip(flag.settings, flag.fields, strict=False)}
"""Settings that stand for one field of the experiment → its dotted name."""

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


def group_of(flag: Flag) -> str:
    """The title under which a flag stands."""
    return next(title for title, flags in GROUPS.items() if flag in flags)
