"""The readers, by what they read, with the files of a folder that each begins with."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Reader(NamedTuple):
    """What is called with a file, and which samples it gets by the beginnings of their names."""

    call: Callable[[str], object]
    samples: str
    finite: bool = True
    """Whether every number that it returns has to be finite."""
    named: bool = True
    """Whether its messages have the name of the file: numbers of a header are spoken of without."""


def _config(path: str) -> object:
    from nanobrag_jax.config import load_config

    return load_config(path).experiment


def _arrays(path: str) -> object:
    return _config(str(Path(path).with_suffix(".json")))


def _settings(path: str) -> object:
    from nanobrag_jax.command.config_settings import settings_with_config
    from nanobrag_jax.command.flags import parse

    return sorted(settings_with_config(parse(["-config", path])).values.items(), key=str)


def _expt(path: str) -> object:
    from nanobrag_jax.dials.to_experiment import experiment_from_expt

    return experiment_from_expt(path, structure_factors=_factors())


def _geom(path: str) -> object:
    from nanobrag_jax.dials.to_experiment import experiment_from_expt

    crystal = {"cell_lengths_A": (50.0, 60.0, 70.0), "cell_angles_deg": (90.0, 90.0, 90.0), "n_cells": (3, 3, 3)}
    return experiment_from_expt(path, structure_factors=_factors(), crystal=crystal)


def _factors() -> object:
    import nanobrag_jax as nb

    return nb.StructureFactors(default_F=10.0)


def _recipe(path: str) -> object:
    from nanobrag_jax.dataset.document import load_recipe

    return load_recipe(path)


def _headers(path: str) -> object:
    from nanobrag_jax import experiment_from_args

    flags = "-cell 50 60 70 90 90 90 -default_F 1 -N 3 -oversample 1".split()
    return experiment_from_args([*flags, "-img", path])


def _image(path: str) -> object:
    from nanobrag_jax.formats import read_image

    return np.asarray(read_image(path)).shape


def _model(path: str) -> object:
    from nanobrag_jax.models.density import sphere_from_model

    return sphere_from_model(path, 4.0)


def _reader(module: str, name: str) -> Callable[[str], object]:
    def call(path: str) -> object:
        import importlib

        return getattr(importlib.import_module(f"nanobrag_jax.{module}"), name)(path)

    return call


READERS = {
    "hkl": Reader(_reader("io.hkl", "read_hkl"), "table.hkl"),
    "matrix": Reader(_reader("io.mosflm_matrix", "read_matrix"), "matrix"),
    "sources": Reader(_reader("io.source_list", "read_source_list"), "sources", finite=False),
    "spectrum": Reader(_reader("io.spectrum", "read_spectrum"), "spectrum"),
    "stol": Reader(_reader("io.stol", "read_stol"), "stol"),
    "Fdump": Reader(_reader("io.fdump", "read_fdump"), "Fdump"),
    "image": Reader(_image, "image", finite=False),
    "header": Reader(_headers, "image.img", named=False),
    "mtz": Reader(_reader("models.reflections", "sphere_from_mtz"), "factors.mtz", finite=False),
    "sf cif": Reader(_reader("models.reflections", "sphere_from_mmcif"), "factors.cif", finite=False),
    "reflection list": Reader(_reader("models.reflection_lists", "sphere_from_list"), "list", finite=False),
    "shelx": Reader(_reader("models.shelx", "sphere_from_shelx"), "shelx.hkl", finite=False),
    "model": Reader(_model, "model_", finite=False),
    "expt": Reader(_expt, "models.expt"),
    "refl": Reader(_reader("dials.reflections", "read_refl"), "table.refl", finite=False),
    "geom": Reader(_geom, "models.geom"),
    "config": Reader(_config, "run.json"),
    "arrays": Reader(_arrays, "arrays.npz"),
    "settings": Reader(_settings, "run.json"),
    "recipe": Reader(_recipe, "recipe"),
}

COMMAND_LINES = "command lines"
"""In the place of a reader: whole runs of the command, see `command_lines`."""
