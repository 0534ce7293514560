"""nanoBragg as pure JAX functions: X-ray diffraction images, exact, fast and differentiable."""

from typing import TYPE_CHECKING

from . import compiler_memory as compiler_memory
from . import precision as precision
from .lazy import lazy_names
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import cli as cli
    from . import compare as compare
    from . import refine as refine
    from .amorphous import Amorphous as Amorphous
    from .amorphous import amorphous_sample as amorphous_sample
    from .assemble import experiment_from_args as experiment_from_args
    from .config import Config as Config
    from .config import load_config as load_config
    from .config import save_config as save_config
    from .dials import experiment_from_expt as experiment_from_expt
    from .dials_export import to_expt as to_expt
    from .effects import DetectorEffects as DetectorEffects
    from .effects import detect as detect
    from .errors import InputError as InputError
    from .experiment import Beam as Beam
    from .experiment import Crystal as Crystal
    from .experiment import Detector as Detector
    from .experiment import Experiment as Experiment
    from .experiment import Goniometer as Goniometer
    from .experiment import Sampling as Sampling
    from .formats import write_image as write_image
    from .panels import panel_experiment as panel_experiment
    from .render import simulate as simulate
    from .render import simulate_pixels as simulate_pixels
    from .spectra import spectrum_beam as spectrum_beam
    from .structure_factors import StructureFactors as StructureFactors
    from .trace import Trace as Trace
    from .trace import trace_pixel as trace_pixel
else:
    # The same names, loaded when they are first asked for: `import nanobrag_jax` takes no longer than `import jax`.
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        modules="cli compare refine",
        amorphous="Amorphous amorphous_sample",
        assemble="experiment_from_args",
        config="Config load_config save_config",
        dials="experiment_from_expt",
        dials_export="to_expt",
        effects="DetectorEffects detect",
        errors="InputError",
        experiment="Beam Crystal Detector Experiment Goniometer Sampling",
        formats="write_image",
        panels="panel_experiment",
        render="simulate simulate_pixels",
        spectra="spectrum_beam",
        structure_factors="StructureFactors",
        trace="Trace trace_pixel",
    )
