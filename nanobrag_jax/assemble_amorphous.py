"""What the flag -stol and those beside it bring into an assembly."""

from pathlib import Path

from .amorphous import SUBSTANCES, Amorphous, amorphous_sample
from .errors import InputError
from .flags import Settings


def amorphous_of(settings: Settings, place: Path) -> Amorphous | None:
    """The amorphous sample in the beam; None where the flags name none, and in c-parity.

    **Raises** `InputError` for a table that cannot be used, or one without density and molecular weight.
    """
    if "stol_path" not in settings or not settings.get("amorphous_thick_mm") or settings.get("mode") == "c-parity":
        return None
    named = settings.get("stol_path")
    flag, given = settings.flag_of("stol_path"), [settings.get(f"amorphous_{x}") for x in ("density", "weight")]
    if named not in SUBSTANCES and None in given:
        missing = "-amorphous_density" if given[0] is None else "-amorphous_molecular_weight"
        raise InputError(f"{flag} {named} is none of {', '.join(SUBSTANCES)}: give {missing} with it")
    try:
        return amorphous_sample(
            named if named in SUBSTANCES else place / named,
            settings.get("amorphous_thick_mm"),
            beam_size_mm=settings.get("beamsize_mm"),
            density_g_per_cm3=given[0],
            molecular_weight_Da=given[1],
        )
    except InputError as error:
        raise InputError(f"{flag}: {error}") from None
