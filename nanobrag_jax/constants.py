"""Physical constants and fixed numbers of the reference (docs/reference.md)."""

import math

R_E_SQR_M2 = 7.94079248018965e-30
"""Square of the classical electron radius (Thomson cross section), m²."""

AVOGADRO = 6.02214179e23
"""Particles per mole, as the reference has it."""

EV_ANGSTROM = 12398.42
"""Photon energy (eV) times wavelength (Å)."""

DEG_PER_RAD = 180.0 * (1.0 / math.pi)
"""Degrees in one radian, in the reference's own rounding."""

LARGEST_COUNT = 65535
"""What a pixel of the reference's integer and noise images can hold."""

LARGEST_INT32 = 2**31 - 1
"""What a pixel of a file of 32 bits can hold."""

INT_PEAK = 55000.0
"""Where the brightest pixel goes in the integer image when no scale is given."""

DEFAULT_FLUENCE_PER_M2 = 1.25932015286227086e29
"""Photons per m² for which r_e²·fluence is one."""

DEFAULT_BEAM_SIZE_MM = 0.1
"""Edge of the square beam."""

DEFAULT_K_SOL_E_PER_A3 = 0.35
"""Density of the bulk solvent around a model, electrons/Å³: the mean over deposited structures."""

DEFAULT_B_SOL_A2 = 46.0
"""B factor of the bulk solvent, Å², likewise."""

WATER_F = 2.57
"""Structure factor of a water molecule in the background model, electrons."""

WATER_MOLECULES_PER_M3 = 1e6 * AVOGADRO / 18.0
"""Number density of water, 1/m³."""

ROUND_XTAL_SCALE = 0.723601254558268
"""Peak scale of a spherical crystal relative to N_a·N_b·N_c."""

GAUSS_XTAL_SCALE = 0.63
"""Denominator of the exponent of a gaussian spot."""

TOPHAT_LIMIT = 0.3969
"""Edge of a top-hat spot: r²·fudge below it is inside."""

SMV_ENDINGS = (".img", ".smv")
NEXUS_ENDINGS = (".h5", ".hdf5", ".nxs")

MODES = ("spec", "c-parity")
PRECISIONS = ("float64", "mixed", "float32")
PSF_SHAPES = ("gauss", "fiber")
PHI_SAMPLINGS = ("start", "middle")
