"""Many images of one rotation, with one compiled program."""

from collections.abc import Iterator

from jax.sharding import Mesh

from ..checks import count
from ..experiment import Experiment, image_experiment
from ..typing import Images, Mode, Precision
from .simulate import simulate


def simulate_sweep(
    experiment: Experiment,
    n: int,
    first: int = 1,
    mode: Mode = "spec",
    *,
    precision: Precision | None = None,
    block_pixels: int | None = None,
    mesh: Mesh | None = None,
) -> Iterator[Images]:
    """The images of a rotation one after the other: a generator, which renders each when it is asked for.

    Image k is `simulate(image_experiment(experiment, k), …)`, to the last bit: the experiment is image 1, and image k
    starts where image k − 1 has ended. Nothing is compiled after the first. In c-parity each image is a run of the
    reference of its own: no vectors are carried from one to the next.

    **Arguments:**

    - `experiment`: of image 1; its `goniometer.osc_deg` is the width of each image;
    - `n`: how many images;
    - `first`: the number of the first of them;
    - `mode`, `precision`, `block_pixels`, `mesh`: as for `simulate`.

    **Returns** what `simulate` does, n times. **Raises** `InputError` for numbers below 1.
    """
    count("n", n)
    image_experiment(experiment, first)
    options = {"precision": precision, "block_pixels": block_pixels, "mesh": mesh}
    numbers = range(first, first + n)
    return (simulate(image_experiment(experiment, number), mode, **options) for number in numbers)
