"""Simulated shots in files: images, an experiment list and a reflection table, as DIALS would hand them over."""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from refine_cases import counts_of, small_still

import nanobrag_jax as nb
from nanobrag_jax import refine
from nanobrag_jax.dials.from_experiment import expt_record
from nanobrag_jax.dials.reflections import write_refl
from nanobrag_jax.dials.write import write_expt

I23 = Path(__file__).parents[2] / "shared" / "reference" / "i23_thaumatin"


def polarised_still(**leaves) -> nb.Experiment:
    """The small still with a beam such as DIALS takes it to be, and amplitudes of the symmetry 2/m."""
    plain = small_still(**leaves)
    factors = plain.structure_factors
    groups = refine.reflection_groups(factors, "2/m")
    table = 100.0 * np.sqrt(np.random.default_rng(5).exponential(1.0, groups.max() + 1))[groups]
    table[tuple(-np.array(factors.hkl_min))] = 0.0
    beam = nb.Beam(1.8, fluence_per_m2=2e29, kahn_factor=0.998)
    return eqx.tree_at(lambda e: (e.beam, e.structure_factors.amplitudes), plain, (beam, jnp.asarray(table)))


def table_of(spots: list[refine.Spots], panels=0, frames=None, ids=None) -> dict[str, np.ndarray]:
    """Columns of a reflection table with the predicted spots as observed ones, one list an image."""
    counts = [len(s.hkl) for s in spots]
    frame = np.repeat(np.arange(len(spots)) if frames is None else frames, counts)
    x, y = (np.concatenate([getattr(s, name) for s in spots]) + 0.5 for name in ("fast", "slow"))
    place = np.stack([x, y, frame + 0.5], axis=1)
    low = np.floor(place[:, :2]).astype(int) - 2
    bbox = np.stack([low[:, 0], low[:, 0] + 5, low[:, 1], low[:, 1] + 5, frame, frame + 1], axis=1)
    return {
        "miller_index": np.concatenate([s.hkl for s in spots]).astype(int),
        "id": np.repeat(np.zeros(len(spots), int) if ids is None else ids, counts),
        "panel": np.full(len(x), panels, np.uint64),
        "flags": np.full(len(x), 36, np.uint64),
        "bbox": bbox,
        "xyzobs.px.value": place,
        "xyzcal.px": place,
    }


def stills(folder: Path, count: int, image: str = "still_{:04d}.npy", **turned) -> list[nb.Experiment]:
    """So many stills of one crystal in orientations of its own, with their list and table."""
    rng, truths, records, spots = np.random.default_rng(7), [], [], []
    for number in range(count):
        misset = jnp.asarray([11.0, 17.0, 23.0]) + (rng.normal(size=3) * 3.0 if number else 0.0)
        truth = eqx.tree_at(lambda e: e.crystal.misset_deg, polarised_still(**turned), misset)
        path = folder / image.format(number)
        nb.write_image(path, counts_of(truth, seed=number).astype(np.int32), truth)
        records.append(expt_record(truth, path, hall_symbol=" P 2y"))
        spots.append(refine.predict(truth, min_photons=20.0))
        truths.append(truth)
    write_expt(folder / "stills.expt", records)
    write_refl(folder / "stills.refl", table_of(spots, frames=np.zeros(count, int), ids=np.arange(count)))
    return truths


def write_hkl(path: Path, factors: nb.StructureFactors) -> None:
    """Amplitudes as a text of h k l F."""
    table, low = np.asarray(factors.amplitudes), np.array(factors.hkl_min)
    rows = [f"{h} {k} {l} {table[place]:.8g}" for place in np.ndindex(table.shape) for h, k, l in [place + low]]
    path.write_text("\n".join(rows) + "\n")


__all__ = ["I23", "counts_of", "polarised_still", "stills", "table_of", "write_hkl"]
