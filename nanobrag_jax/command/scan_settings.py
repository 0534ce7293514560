"""-expt_image all: the images of a list's scan as the numbers of a sweep."""

from dataclasses import replace

from ..dials.read import read_one_expt
from ..dials.to_experiment import scan_images
from ..errors import InputError
from .flags import Settings

_DECIDED = ("images", "first_image", "phi_deg", "osc_deg", "phistep_deg")
"""Settings that the scan decides."""


def settings_with_scan(settings: Settings) -> Settings:
    """Settings with the images of the whole scan, where -expt_image asks for all.

    **Raises** `InputError` without a list, and for flags that the scan decides.
    """
    if settings.get("expt_image") != "all":
        return settings
    flag = f"{settings.flag_of('expt_image')} all"
    if settings.get("expt_path") is None:
        raise InputError(f"{flag} needs -expt")
    for name in _DECIDED:
        if name in settings:
            raise InputError(f"{settings.flag_of(name)} cannot be given beside {flag}: the scan says it")
    record, _ = read_one_expt(settings.get("expt_path"), settings.get("expt_index"))
    numbers = scan_images(record)
    return replace(settings, values=settings.values | {"images": len(numbers), "first_image": numbers[0]})
