"""nanoBragg as pure JAX functions: X-ray diffraction images, exact, fast and differentiable."""

from typing import TYPE_CHECKING

from . import quiet_start as quiet_start
from .lazy import lazy_names
from .numerics import precision as precision
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import cli as cli
    from . import compare as compare
    from . import dataset as dataset
    from . import detectors as detectors
    from . import formats as formats
    from . import refine as refine
    from .beam import Beam as Beam
    from .beam import spectrum_beam as spectrum_beam
    from .beam_stop import with_beam_stop as with_beam_stop
    from .changes import replace as replace
    from .command.assemble import experiment_from_args as experiment_from_args
    from .config import Config as Config
    from .config import load_config as load_config
    from .config import save_config as save_config
    from .crystal import Crystal as Crystal
    from .detector import Detector as Detector
    from .dials.from_experiment import to_expt as to_expt
    from .dials.to_experiment import experiment_from_expt as experiment_from_expt
    from .dials.to_experiment import scan_from_expt as scan_from_expt
    from .diffuse import Diffuse as Diffuse
    from .effects import DetectorEffects as DetectorEffects
    from .effects import detect as detect
    from .effects import image_key as image_key
    from .errors import ExperimentWarning as ExperimentWarning
    from .errors import InputError as InputError
    from .experiment import Experiment as Experiment
    from .experiment import Sampling as Sampling
    from .experiment import completed as completed
    from .experiment import image_experiment as image_experiment
    from .experiment import panel_experiment as panel_experiment
    from .formats import read_image as read_image
    from .formats import write_image as write_image
    from .formats import write_sweep as write_sweep
    from .goniometer import Goniometer as Goniometer
    from .molecule import single_molecule as single_molecule
    from .mosaicity import AnisotropicMosaicity as AnisotropicMosaicity
    from .mosaicity import CapMosaicity as CapMosaicity
    from .mosaicity import IsotropicMosaicity as IsotropicMosaicity
    from .mosaicity import MosaicRotations as MosaicRotations
    from .mosaicity import ThreefoldMosaicity as ThreefoldMosaicity
    from .render.lattices import simulate_lattices as simulate_lattices
    from .render.lattices import stack_crystals as stack_crystals
    from .render.simulate import simulate as simulate
    from .render.simulate import simulate_pixels as simulate_pixels
    from .render.sweep import simulate_sweep as simulate_sweep
    from .scatterers import Amorphous as Amorphous
    from .scatterers import amorphous_sample as amorphous_sample
    from .structure_factors import StructureFactors as StructureFactors
    from .trace import Trace as Trace
    from .trace import trace_pixel as trace_pixel
else:
    # The same names, loaded when they are first asked for: `import nanobrag_jax` takes no longer than `import jax`.
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        modules="cli compare dataset detectors formats refine",
        beam="Beam spectrum_beam",
        beam_stop="with_beam_stop",
        changes="replace",
        config="Config load_config save_config",
        crystal="Crystal",
        detector="Detector",
        diffuse="Diffuse",
        effects="DetectorEffects detect image_key",
        errors="ExperimentWarning InputError",
        experiment="Experiment Sampling completed image_experiment panel_experiment",
        formats="read_image write_image write_sweep",
        goniometer="Goniometer",
        molecule="single_molecule",
        mosaicity="AnisotropicMosaicity CapMosaicity IsotropicMosaicity MosaicRotations ThreefoldMosaicity",
        scatterers="Amorphous amorphous_sample",
        structure_factors="StructureFactors",
        trace="Trace trace_pixel",
        **{
            "command.assemble": "experiment_from_args",
            "dials.from_experiment": "to_expt",
            "dials.to_experiment": "experiment_from_expt scan_from_expt",
            "render.lattices": "simulate_lattices stack_crystals",
            "render.simulate": "simulate simulate_pixels",
            "render.sweep": "simulate_sweep",
        },
    )
