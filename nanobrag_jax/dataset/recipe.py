"""A recipe: from which experiments a data set is made, what differs from image to image, and what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..effects import DetectorEffects
from ..effects.psf import gauss_reach
from ..errors import InputError
from ..experiment import Experiment, completed, with_fields
from ..mosaicity import CapMosaicity
from ..panels import PanelStack
from ..refine.parameters.paths import ScaledExperiment, check_name, read_leaf
from ..typing import Precision
from .distributions import Choice, Distribution, Draw, Fixed, Orientations

_OF_A_LATTICE = "crystal."
"""Names that begin so are drawn for each lattice, others for each image."""
EFFECTS = "effects."
_MOST_LATTICES = 1000


@dataclass(frozen=True)
class Storage:
    """How images are kept.

    **Arguments:**

    - `dtype`: of the counts, uint16 or int32; what is beyond it is clipped;
    - `shard_images`: in a file;
    - `batch`: images that are rendered by one call; all batches have as many, so that no image depends on it;
    - `expt`: whether a DIALS experiment list lies beside each file.

    **Raises** `InputError`.
    """

    dtype: str = "uint16"
    shard_images: int = 1000
    batch: int = 16
    expt: bool = True

    def __post_init__(self):
        checks.one_of("dtype", self.dtype, ("uint16", "int32"))
        checks.count("shard_images", self.shard_images)
        checks.count("batch", self.batch)


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a data set is made of. Image i is a function of the recipe and i, and of nothing else.

    **Arguments:**

    - `base`: an experiment, or several (structures, geometries): each image has one of them, drawn by
      `base_weights`;
    - `vary`: by its name as in refinement (`crystal.n_cells`, `beam.wavelength_A`, `scatterers.0.thickness_mm`), or
      `effects.` and a strength, what a number is drawn from. Those of the crystal are drawn for each lattice, the
      others for each image. `crystal.orientation` may be `Orientations()`;
    - `lattices`: how many crystals an image has, a whole number;
    - `effects`: of the detector; photons are counted by `shot_noise`;
    - `images`: how many there are; `seed`: of all that is random;
    - `precision`: as for `simulate`;
    - `storage`.

    **Raises** `InputError` for names that no base has, and for what does not fit.
    """

    base: Experiment | Sequence[Experiment]
    vary: Mapping[str, Distribution] = field(default_factory=dict)
    lattices: Distribution = Fixed(1)
    effects: DetectorEffects = field(default_factory=lambda: DetectorEffects(shot_noise=True))
    images: int = 1000
    seed: int = 1
    precision: Precision | None = None
    base_weights: Sequence[float] | None = None
    storage: Storage = Storage()

    def __post_init__(self):
        checks.count("images", self.images)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or abs(self.seed) >= 2**63:
            raise InputError(f"seed must be a whole number of 64 bits, got {self.seed!r}")
        if not self.bases:
            raise InputError("base must be an experiment or several, got none")
        self.base_choice  # noqa: B018  (checks the weights)
        most = self.lattices.largest()
        if most != int(most) or not 0 <= most <= _MOST_LATTICES:
            raise InputError(f"lattices must be whole numbers from 0 to {_MOST_LATTICES}, the largest is {most:g}")
        for name, distribution in self.vary.items():
            rows = distribution.rows()
            if rows is not None and rows < self.images:
                raise InputError(f"{name}: the table has {rows} rows for {self.images} images")
            for base in self.prepared:
                try:
                    distribution.value(Draw(self.seed, name, 0), leaf_shape(base, self.effects, name))
                except InputError as error:
                    raise InputError(f"{name}: {error}") from None

    @cached_property
    def bases(self) -> tuple[Experiment, ...]:
        """The base experiments."""
        return (self.base,) if isinstance(self.base, Experiment) else tuple(self.base)

    @cached_property
    def base_choice(self) -> Choice:
        """Which of them an image has."""
        try:
            return Choice(list(range(len(self.bases))), self.base_weights)
        except InputError as error:
            raise InputError(f"base_weights: {error}") from None

    @cached_property
    def prepared(self) -> tuple[Experiment, ...]:
        """The bases with a leaf for everything that is drawn."""
        return tuple(_with_leaves(base, self.vary) for base in self.bases)

    @cached_property
    def backgrounds(self) -> tuple[Experiment | None, ...]:
        """What scatters beside the crystals of each base (see `background_alone`)."""
        return tuple(map(background_alone, self.prepared))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the leaves that are drawn."""
        return {name: leaf_shape(self.prepared[0], self.effects, name) for name in self.vary}

    @property
    def most_lattices(self) -> int:
        """Of an image; at least 1."""
        return max(1, int(self.lattices.largest()))

    @cached_property
    def detector_effects(self) -> DetectorEffects:
        """The effects, with a radius for a gaussian point spread that all of its light lies in."""
        effects = self.effects
        if effects.psf != "gauss" or effects.psf_radius_pixels is not None:
            return effects
        drawn = self.vary.get(EFFECTS + "psf_fwhm_pixels")
        widest = float(effects.psf_fwhm_pixels) if drawn is None else drawn.largest()  # type: ignore[arg-type]
        return with_fields(effects, psf_radius_pixels=gauss_reach(widest))


def is_of_a_lattice(name: str) -> bool:
    """Whether a number is drawn for each lattice."""
    return name.startswith(_OF_A_LATTICE)


def _with_leaves(base: Experiment, vary: Mapping[str, Distribution]) -> Experiment:
    base = completed(base)
    if isinstance(vary.get("crystal.orientation"), Orientations) and base.crystal.orientation is None:
        crystal = with_fields(base.crystal, orientation=np.eye(3))
        base = eqx.tree_at(lambda e: e.crystal, base, crystal)
    if not isinstance(base.detector, PanelStack) and isinstance(base.detector, tuple):
        raise InputError("base: the panels of a data set must be equal in size")
    return base


def background_alone(base: Experiment) -> Experiment | None:
    """What scatters beside the crystals, with one sample of a crystal that does not; None where there is nothing.

    It keeps the leaves that differ from image to image.
    """
    if base.sampling.water_um is None and not base.scatterers:
        return None
    nothing = with_fields(base.structure_factors, amplitudes=None, default_F=0.0)
    crystal = with_fields(base.crystal, mosaicity=CapMosaicity.drawn(0.0, 1))
    return eqx.tree_at(lambda e: (e.crystal, e.structure_factors), base, (crystal, nothing))


def leaf_shape(base: Experiment, effects: DetectorEffects, name: str) -> tuple[int, ...]:
    """The shape of what a name stands for. **Raises** `InputError` for a name that there is not."""
    if name.startswith(EFFECTS):
        strength = getattr(effects, name.removeprefix(EFFECTS), None)
        if not isinstance(strength, jax.Array) or not jnp.issubdtype(strength.dtype, jnp.floating):
            raise InputError("effects has no such strength, or does not set it")
        return strength.shape
    scaled = ScaledExperiment(base, jnp.ones(()))
    check_name(scaled, name)
    return read_leaf(scaled, name).shape


class Drawn(NamedTuple):
    """What is drawn for some images, numpy arrays with an axis of images in front."""

    numbers: NDArray[np.int64]
    """Of the images, from 0."""
    base: NDArray[np.int64]
    """Which base experiment each has."""
    lattices: NDArray[np.int64]
    """How many crystals."""
    of_image: dict[str, NDArray[np.float64]]
    of_lattice: dict[str, NDArray[np.float64]]
    """(image, lattice, …), for as many lattices as an image of the recipe may have."""


def draw(recipe: Recipe, numbers: Sequence[int]) -> Drawn:
    """The numbers of some images. **Raises** `InputError` for lattices that are not a whole number."""
    base = [int(recipe.base_choice.value(Draw(recipe.seed, "base", i), ())) for i in numbers]
    count = np.array([recipe.lattices.value(Draw(recipe.seed, "lattices", i), ()) for i in numbers])
    if (count != np.floor(count)).any() or (count < 0).any():
        raise InputError(f"lattices must be whole numbers, got {count[count != np.floor(count)][0]:g}")
    of_image, of_lattice = {}, {}
    for name, distribution in recipe.vary.items():
        shape = recipe.shapes[name]
        if is_of_a_lattice(name):
            of_lattice[name] = np.stack(
                [
                    [distribution.value(Draw(recipe.seed, name, i, l), shape) for l in range(recipe.most_lattices)]
                    for i in numbers
                ]
            )
        else:
            of_image[name] = np.stack([distribution.value(Draw(recipe.seed, name, i), shape) for i in numbers])
    count = count.astype(np.int64)
    return Drawn(np.asarray(numbers, np.int64), np.asarray(base, np.int64), count, of_image, of_lattice)
