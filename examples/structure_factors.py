"""Structure factors from twenty stills of random orientation: python examples/structure_factors.py

Starts from amplitudes with log-normal errors of 0.2 and refines every amplitude that the stills show, against boxes
around the predicted spots with a background of their own. With --per-image each image's misset and scale, which start
0.03° and 10 % off, are refined as well; --laue-group 1 refines all equivalents apart.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import stills

from nanobrag_jax import refine

AMPLITUDES = "structure_factors.amplitudes"


@dataclass
class Run:
    """A refinement with its truth, one number for each group of equivalent reflections."""

    true: np.ndarray
    started: np.ndarray
    refined: np.ndarray
    sigma: np.ndarray
    result: refine.Result
    seconds: float

    @property
    def significant(self) -> np.ndarray:
        """True for reflections above 3σ."""
        return self.refined > 3 * self.sigma

    def r1(self, amplitudes: np.ndarray) -> float:
        """Σ|F − F_true| / Σ F_true over the significant reflections."""
        chosen = self.significant
        return float(np.sum(np.abs(amplitudes - self.true)[chosen]) / np.sum(self.true[chosen]))


def run(
    images: int = 20,
    seed: int = 0,
    *,
    laue_group: str = "2/m",
    per_image: bool = False,
    binning: int = 1,
    driver=None,
    progress=True,
) -> Run:
    """Simulate the stills and refine."""
    rng = np.random.default_rng([seed, 20])
    truths = [stills.still(stills.random_orientation(rng), binning=binning) for _ in range(images)]
    counts = [stills.photon_counts(t, rng, binning=binning) for t in truths]
    true = np.asarray(truths[0].structure_factors.amplitudes)
    began = time.perf_counter()
    unique = refine.reflection_groups(truths[0].structure_factors, laue_group)
    wrong = true * np.exp(0.2 * rng.normal(size=unique.max() + 1))[unique]
    starts = [_off(t, wrong, rng, per_image) for t in truths]
    spots = [refine.predict(s, widths=2.0) for s in starts]
    boxes = [
        refine.shoeboxes(s, c, p.slow, p.fast, half_size=8 // binning, background="constant")
        for s, c, p in zip(starts, counts, spots, strict=True)
    ]
    seen = np.concatenate([s.hkl for s in spots])
    groups = refine.reflection_groups(starts[0].structure_factors, laue_group, only=seen)
    parameters = [refine.Parameter(AMPLITUDES, "positive", groups=groups)]
    if per_image:
        tight = np.full(images, 0.2)
        tight[0] = 1e-4  # the first image's scale stands still: a common factor belongs to the amplitudes
        start = np.exp(0.1 * rng.normal(size=images))
        start[0] = 1.0
        parameters += [
            refine.Parameter("scale", "positive", start=start, restraint=(np.ones(images), tight), per_image=True),
            refine.Parameter("crystal.misset_deg", scale=0.03, per_image=True),
        ]
    driver = refine.ConjugateGradients() if driver is None else driver
    result = refine.fit(starts, boxes, parameters, driver=driver, progress=progress)
    chosen = groups >= 0
    values = [np.zeros(groups.max() + 1) for _ in range(2)]
    for table, row in zip((true, wrong), values, strict=True):
        row[groups[chosen]] = table[chosen]
    refined, sigma = result.values[AMPLITUDES], result.uncertainties[AMPLITUDES]
    return Run(values[0], values[1], refined, sigma, result, time.perf_counter() - began)


def _off(truth, amplitudes, rng, per_image: bool):
    start = eqx.tree_at(lambda e: e.structure_factors.amplitudes, truth, jnp.asarray(amplitudes))
    if not per_image:
        return start
    return eqx.tree_at(lambda e: e.crystal.misset_deg, start, jnp.asarray(0.03 * stills.direction(rng, 3)))


def main(argv=None) -> Run:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--laue-group", default="2/m")
    parser.add_argument("--per-image", action="store_true", help="refine each image's misset and scale as well")
    parser.add_argument("--first-order", action="store_true", help="with Adam instead of conjugate gradients")
    parser.add_argument("--binning", type=int, default=1)
    parser.add_argument("--plots", type=Path, help="folder for the figure")
    arguments = parser.parse_args(argv)
    found = run(
        arguments.images,
        arguments.seed,
        laue_group=arguments.laue_group,
        per_image=arguments.per_image,
        binning=arguments.binning,
        driver=refine.FirstOrder() if arguments.first_order else None,
    )
    print(found.result.verdict)
    chosen = found.significant
    print(f"{chosen.sum()} of {chosen.size} amplitudes above 3 sigma")
    print(f"R1 {found.r1(found.started):.4f} at the start, {found.r1(found.refined):.4f} refined")
    pulls = ((found.refined - found.true) / found.sigma)[chosen]
    print(f"pull deviation {np.sqrt(np.mean(pulls**2)):.3f}")
    print(f"{found.seconds:.1f} s with prediction and compilation")
    if arguments.plots:
        import figures

        figures.amplitudes(found, arguments.plots / "structure_factors.png")
    return found


if __name__ == "__main__":
    main()
