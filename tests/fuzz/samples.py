"""Whole files of every kind that is read, small."""

import gzip
import json
from pathlib import Path

import numpy as np
from file_texts import CRYSTFEL, GEOM, SALT, XDS

MATRIX = """ 0.0205 -0.0042 0.0011
 0.0032 0.0161 -0.0051
-0.0012 0.0047 0.0132
"""
HKL = "".join(f"{h} {k} {l} {10.5 * h + k + 0.25 * l}\n" for h in range(-3, 4) for k in range(3) for l in range(4))
SOURCES = "-10 0.01 0.02 1.0 1.0e-10\n-10 -0.01 0 0.5 1.01e-10\n-10 0 0\n"
SPECTRUM = "# eV, weight\n" + "".join(f"{9000 + 5 * i} {1.0 + i % 3}\n" for i in range(12))
STOL = "".join(f"{0.05 * i:.2f} {8.0 / (1 + i):.4f}\n" for i in range(20))
SHELX = """   1   0   2   25.00    1.00   1
  -1   0  -2   49.00    2.00   1
   1   1   1  100.00    1.00   1
   0   0   0    0.00    0.00
"""
INS = "TITL x\nCELL 0.71073 8.1 9.2 10.3 90 104.5 90\nLATT 1\nSYMM -X, 0.5+Y, 0.5-Z\nSFAC C H\nUNIT 8 8\nHKLF 4\nEND\n"
RECIPE = {
    "format": "nanobrag_jax dataset",
    "version": 1,
    "images": 11,
    "seed": 5,
    "base": {"args": "-cell 40 50 60 90 95 90 -N 5 -default_F 100 -detpixels 24 -oversample 1".split()},
    "vary": {
        "crystal.orientation": {"kind": "orientations"},
        "crystal.n_cells": {"kind": "uniform", "low": 3, "high": 6},
        "beam.wavelength_A": {"kind": "normal", "mean": 1.2, "sd": 0.01, "low": 1.17, "high": 1.23},
        "detector.distance_mm": {"kind": "choice", "values": [29, 30, 31], "weights": [1, 2, 1]},
    },
    "effects": {"shot_noise": True, "psf": "gauss", "psf_fwhm_pixels": 1.1, "offset_adu": 10},
    "storage": {"shard_images": 4, "batch": 4},
}


BESIDE = ("run.npz", "arrays.json", "shelx.ins")
"""Samples that others are read with, undamaged."""


def write_samples(folder: Path) -> None:
    """Write them all into a folder."""
    texts = {
        "table.hkl": HKL, "matrix.mat": MATRIX, "sources.txt": SOURCES, "spectrum.txt": SPECTRUM, "stol.stol": STOL,
        "list_crystfel.hkl": CRYSTFEL.format("222"), "list_XDS_ASCII.HKL": XDS, "shelx.hkl": SHELX, "shelx.ins": INS,
        "model_salt.cif": SALT, "models.geom": GEOM, "recipe.json": json.dumps(RECIPE),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    _write_models(folder)
    _write_reflections(folder)
    _write_images(folder)
    _write_experiments(folder)


def _write_models(folder: Path) -> None:
    import atoms

    for ending in ("pdb", "cif"):
        atoms.write_structure(atoms.make_structure("P 61 2 2", atoms=6), folder / f"model_protein.{ending}")


def _write_reflections(folder: Path) -> None:
    import gemmi

    from nanobrag_jax.dials.reflections import write_refl
    from nanobrag_jax.io.fdump import write_fdump

    mtz = gemmi.Mtz(with_base=True)
    mtz.set_cell_for_all(gemmi.UnitCell(40, 50, 60, 90, 90, 90))
    mtz.spacegroup = gemmi.SpaceGroup("P 21 21 21")
    mtz.add_dataset("x")
    mtz.add_column("F", "F")
    mtz.add_column("SIGF", "Q")
    mtz.set_data(np.array([(h, k, 2, 10 + h + k, 1) for h in range(1, 5) for k in range(4)], np.float32))
    mtz.write_to_file(str(folder / "factors.mtz"))
    items = "index_h index_k index_l F_meas_au F_meas_sigma_au".split()
    cell = dict(
        zip(
            ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"),
            (40, 50, 60, 90, 90, 90),
            strict=True,
        )
    )
    lines = [
        "data_x",
        *(f"_cell.{name} {value}" for name, value in cell.items()),
        "_symmetry.space_group_name_H-M 'P 21 21 21'",
    ]
    lines += [
        "loop_",
        *(f"_refln.{item}" for item in items),
        *(f"{h} {k} 2 {10 + h} 1" for h in range(1, 5) for k in range(4)),
    ]
    (folder / "factors.cif").write_text("\n".join(lines) + "\n")
    write_fdump(folder / "Fdump.bin", (-1, -2, -3), np.arange(3 * 5 * 7, dtype=float).reshape(3, 5, 7))
    columns = {
        "miller_index": np.array([[1, -2, 3], [0, 0, -7]]),
        "id": np.array([0, 0]),
        "flags": np.array([1, 2**40], np.uint64),
        "bbox": np.arange(12).reshape(2, 6),
        "intensity.sum.value": np.array([1.5, -2.25]),
        "xyzobs.px.value": np.array([[1.0, 2.5, 3.0], [4.0, 5.0, 6.5]]),
    }
    write_refl(folder / "table.refl", columns, {0: "first"})


def _write_images(folder: Path) -> None:
    import small

    import nanobrag_jax as nb

    experiment = small.experiment()
    image = np.random.default_rng(1).poisson(20.0, (10, 12)).astype(np.int32)
    for ending in ("img", "cbf", "h5", "npy", "pgm"):
        nb.write_image(folder / f"image.{ending}", image, experiment)
    np.savez_compressed(folder / "image.npz", image=image)
    for name in ("image.img", "image.cbf"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), 1, mtime=0))


def _write_experiments(folder: Path) -> None:
    import expt_files
    import small

    import nanobrag_jax as nb

    expt_files.write(folder / "models.expt", expt_files.experiment_list())
    nb.to_expt(small.experiment(goniometer={"osc_deg": 1.0, "phi_steps": 2}), folder / "models.expt2.expt")
    for name in ("run.json", "arrays.json"):
        nb.save_config(folder / name, small.experiment(goniometer={"osc_deg": 1.0, "phi_steps": 2}))
