"""Data sets of simulated images: see docs/datasets.md."""

from .distributions import Choice as Choice
from .distributions import Distribution as Distribution
from .distributions import Draw as Draw
from .distributions import Fixed as Fixed
from .distributions import LogNormal as LogNormal
from .distributions import Normal as Normal
from .distributions import Orientations as Orientations
from .distributions import Table as Table
from .distributions import Uniform as Uniform
from .document import load_recipe as load_recipe
from .make import Estimate as Estimate
from .make import estimate as estimate
from .make import image_of as image_of
from .make import make_dataset as make_dataset
from .recipe import Recipe as Recipe
from .recipe import Storage as Storage
from .shards import Shard as Shard
from .show import Progress as Progress
from .show import check as check
from .show import progress as progress
from .show import write_sheet as write_sheet
from .slurm import make_on_slurm as make_on_slurm
from .stream import Labelled as Labelled
from .stream import Source as Source
from .stream import batches as batches
