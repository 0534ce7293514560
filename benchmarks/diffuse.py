"""What diffuse scattering costs: processor time of samples with it and without.

python -m benchmarks.diffuse
"""

import time
from collections.abc import Callable

import equinox as eqx
import jax

import nanobrag_jax as nb

from .experiments import samples_of, still
from .gradients import sum_of_squares

ROUNDS = 5
GROUPS = {"square spots": None, "-1": 1, "mmm": 5, "6/mmm": 12, "m-3m": 14}


def seconds(function: Callable, *arguments) -> float:
    """The least processor time of several calls, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """A row for each Laue group: nanoseconds a sample, the ratio to square spots, and that of value and gradient."""
    plain = still(domains=4, pixels=256)
    first = None
    for name, group in GROUPS.items():
        diffuse = None if group is None else nb.Diffuse((60.0, 80.0, 50.0), (0.4, 0.5, 0.6), group)
        experiment = eqx.tree_at(lambda e: e.crystal.diffuse, plain, diffuse, is_leaf=lambda x: x is None)
        forward = seconds(jax.jit(nb.simulate), experiment)
        first = first or forward
        loss, (values, *rest) = sum_of_squares(experiment, False)

        def of_all(values, experiment, data, loss=loss):
            numbers, widths = values
            if widths is not None:
                where = lambda e: (e.crystal.diffuse.gamma_A, e.crystal.diffuse.sigma_A)  # noqa: E731
                experiment = eqx.tree_at(where, experiment, widths)
            return loss(numbers, experiment, data)

        widths = None if diffuse is None else (diffuse.gamma_A, diffuse.sigma_A)
        both = seconds(jax.jit(jax.value_and_grad(of_all)), (values, widths), *rest)
        each = forward / samples_of(experiment) * 1e9
        print(f"{name:>14} {each:8.1f} ns a sample, {forward / first:5.1f} x square; gradient {both / forward:4.1f} x")


if __name__ == "__main__":
    main()
