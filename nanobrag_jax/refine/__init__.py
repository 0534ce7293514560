"""Refinement of experiments against pixels: see docs/refinement.md."""

from .data import PixelData as PixelData
from .data import shoeboxes as shoeboxes
from .data import whole_image as whole_image
from .first_order import FirstOrder as FirstOrder
from .fitting import fit as fit
from .hops import fit_with_hops as fit_with_hops
from .levenberg import ConjugateGradients as ConjugateGradients
from .levenberg import LevenbergMarquardt as LevenbergMarquardt
from .losses import Gaussian as Gaussian
from .losses import Poisson as Poisson
from .parameters import Parameter as Parameter
from .parameters import cell_parameters as cell_parameters
from .places import value_of as value_of
from .predict import Spots as Spots
from .predict import predict as predict
from .predict import spot_positions as spot_positions
from .progress import Step as Step
from .result import Residuals as Residuals
from .result import Result as Result
from .symmetry import laue_operations as laue_operations
from .symmetry import reflection_groups as reflection_groups
from .transforms import Bounded as Bounded
from .transforms import Free as Free
from .transforms import Positive as Positive
