"""Small DIALS experiment lists as tables, in the forms of different years."""

import copy
import json

import numpy as np

SQUARE = {"fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, -1.0, 0.0], "origin": [-3.2, 2.4, -80.0]}
IDENTITY = [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]


def panel(**more) -> dict:
    return SQUARE | {"name": "Panel", "type": "SENSOR_PAD", "image_size": [32, 24], "pixel_size": [0.2, 0.2]} | more


def turn(axis, degrees: float) -> np.ndarray:
    """Rotation matrix by Rodrigues' formula, written out apart from the package's."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    angle = np.radians(degrees)
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.cos(angle) * np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * np.outer(axis, axis)


REAL = np.array([[31.0, 2.0, -1.0], [-3.0, 42.0, 1.5], [2.0, -1.0, 53.0]]) @ turn([1, 2, 3], 25.0).T


def crystal(**more) -> dict:
    vectors = {f"real_space_{x}": row.tolist() for x, row in zip("abc", REAL, strict=True)}
    return {"__id__": "crystal", "space_group_hall_symbol": " P 1"} | vectors | more


def experiment_list(*, still: bool = False, **models) -> dict:
    """A list of one experiment; a model given as None is left out."""
    entries = {
        "beam": {"direction": [0.0, 0.0, 1.0], "wavelength": 0.9},
        "detector": {"panels": [panel()]},
        "crystal": crystal(),
    }
    if not still:
        entries["goniometer"] = {"rotation_axis": [1.0, 0, 0], "fixed_rotation": IDENTITY}
        timing = {"oscillation": [10.0, 0.5], "exposure_time": [0.1], "epochs": [0.0]}
        entries["scan"] = {"image_range": [3, 5], "batch_offset": 0} | timing
    entries = {kind: model for kind, model in (entries | models).items() if model is not None}
    top: dict = {"__id__": "ExperimentList", "experiment": [{"__id__": "Experiment"} | {kind: 0 for kind in entries}]}
    return copy.deepcopy(top | {kind: [model] for kind, model in entries.items()} | {"imageset": [], "profile": []})


def write(path, document) -> str:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)
