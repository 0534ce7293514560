"""Flags that others of the line make useless."""

from .settings import Settings
from .table import FLAGS, GROUPS, NOISE_FLAGS

_VECTORS = tuple(flag.setting for flag in FLAGS if flag.kind == "vector")
_AMORPHOUS = ("stol_path", "amorphous_thick_mm", "amorphous_density", "amorphous_weight")
_NOISE = tuple(flag.setting for flag in NOISE_FLAGS)
_GRID = tuple(flag.setting for flag in GROUPS["Beam"] if flag.setting.startswith(("hdiv", "vdiv", "disp", "round_")))


def without_effect(settings: Settings) -> list[str]:
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
        (("mosaic_seed",), no_mosaic, "has no effect without a mosaic spread"),
        (("fudge",), get("xtal_shape") == "square", "has no effect on square crystals"),
        (("polarization",), not get("polarized"), "has no effect with -nopolar"),
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
