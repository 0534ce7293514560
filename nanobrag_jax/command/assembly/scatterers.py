"""The amorphous samples of a command line."""

from ...errors import InputError
from ...scatterers import SUBSTANCES, Amorphous, amorphous_sample
from .asked import Asked


def scatterers_from_flags(asked: Asked) -> tuple[Amorphous, ...]:
    """The amorphous samples in the beam; none where the flags name none, and in c-parity.

    **Raises** `InputError` for a table that cannot be used, or one without density and molecular weight.
    """
    if "stol_path" not in asked or not asked("amorphous_thick_mm") or asked("mode") == "c-parity":
        return ()
    named, flag = asked("stol_path"), asked.flag_of("stol_path")
    density, weight = asked("amorphous_density"), asked("amorphous_weight")
    if named not in SUBSTANCES and None in (density, weight):
        missing = "-amorphous_density" if density is None else "-amorphous_molecular_weight"
        raise InputError(f"{flag} {named} is none of {', '.join(SUBSTANCES)}: give {missing} with it")
    try:
        sample = amorphous_sample(
            named if named in SUBSTANCES else asked.place / named,
            asked("amorphous_thick_mm"),
            beam_size_mm=asked("beamsize_mm"),
            density_g_per_cm3=density,
            molecular_weight_Da=weight,
        )
    except InputError as error:
        raise InputError(f"{flag}: {error}") from None
    return (sample,)
