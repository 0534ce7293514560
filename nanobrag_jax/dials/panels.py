"""The panels of a DIALS detector: a tree of frames, each in its parent's axes, whose leaves are panels."""

import numpy as np

from ..errors import InputError
from .models import TRUSTED_RANGE, ExptPanel, Floats
from .table import Table

_FRAME = {"fast_axis": np.array([1.0, 0, 0]), "slow_axis": np.array([0, 1.0, 0]), "origin": np.zeros(3)}
_PERPENDICULAR = 1e-3


def panels(table: Table) -> tuple[ExptPanel, ...]:
    """The panels of a detector table in the lab frame. **Raises** `InputError` for one of no size or out of place."""
    entries = table.entries.get("panels")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{table.where} has no panels")
    frames: dict[int, tuple] = {}
    lab = np.eye(3), np.zeros(3)
    if isinstance(table.entries.get("hierarchy"), dict):
        _collect(table.entries["hierarchy"], lab, len(entries), table.where, frames)
        left = set(range(len(entries))) - set(frames)
        if left:
            raise InputError(f"{table.where}: the hierarchy does not place panel {min(left)}")
    tables = [Table(entry, f"{table.where}, panel {i}") for i, entry in enumerate(entries)]
    return tuple(_panel(panel, frames.get(i, lab)) for i, panel in enumerate(tables))


def _collect(node: dict, parent: tuple, count: int, where: str, frames: dict[int, tuple]) -> None:
    """Note the frame of the group that each panel stands in: matrix with columns fast, slow, normal, and origin."""
    axes, origin = frame = _composed(Table(node, f"{where}, hierarchy"), parent)
    children = node.get("children", [])
    for child in children if isinstance(children, list) else []:
        if isinstance(child, dict) and "panel" in child:
            panel = child["panel"]
            if not isinstance(panel, int) or not 0 <= panel < count:
                raise InputError(f"{where}: the hierarchy names panel {panel!r}, but there are {count}")
            frames[panel] = frame
        elif isinstance(child, dict):
            _collect(child, frame, count, where, frames)


def _composed(table: Table, parent: tuple) -> tuple[Floats, Floats]:
    """The lab frame of a node or panel from its own vectors and its parent's frame."""
    fast, slow = table.direction("fast_axis", _FRAME["fast_axis"]), table.direction("slow_axis", _FRAME["slow_axis"])
    cosine = fast @ slow
    if abs(cosine) > _PERPENDICULAR:
        raise InputError(f"{table.where}: fast_axis and slow_axis must be perpendicular, their cosine is {cosine:.3g}")
    normal = np.cross(fast, slow)
    axes, origin = parent
    local = np.stack([fast, slow, normal / np.linalg.norm(normal)], axis=1)
    return axes @ local, axes @ table.array("origin", (3,), _FRAME["origin"]) + origin


def _panel(table: Table, parent: tuple) -> ExptPanel:
    for key in ("fast_axis", "slow_axis", "origin"):
        table.array(key, (3,))
    axes, origin = _composed(table, parent)
    counts = table.pair(
        "image_size", "two whole numbers of at least 1", lambda x: bool(np.all(x >= 1) and np.all(x == np.floor(x)))
    )
    strategy = table.entries.get("px_mm_strategy")
    strategy = Table(strategy if isinstance(strategy, dict) else {}, f"{table.where}, px_mm_strategy")
    thickness = strategy.number("t0", table.number("thickness", 0.0))
    mu = strategy.number("mu", table.number("mu", 0.0))
    if thickness < 0 or mu < 0:
        raise InputError(f"{table.where}: thickness and mu must be zero or positive, got {thickness:g} and {mu:g}")
    offset = table.array("raw_image_offset", (2,), (0, 0)).astype(int).tolist()
    rectangles = table.array("mask", (-1, 4), np.zeros((0, 4))).astype(int).tolist()
    return ExptPanel(
        origin_mm=origin,
        fast_axis=axes[:, 0],
        slow_axis=axes[:, 1],
        pixels=(int(counts[0]), int(counts[1])),
        pixel_size_mm=table.pair("pixel_size", "two positive numbers (mm)", lambda x: bool(np.all(x > 0))),
        name=table.text("name", "Panel"),
        type=table.text("type", "SENSOR_PAD"),
        thickness_mm=thickness,
        mu_per_mm=mu,
        material=table.text("material", ""),
        parallax="Parallax" in strategy.text("type", ""),
        gain=table.number("gain", 1.0),
        pedestal=table.number("pedestal", 0.0),
        trusted_range=table.pair("trusted_range", "two rising numbers", lambda x: bool(x[0] <= x[1]), TRUSTED_RANGE),
        raw_image_offset=(offset[0], offset[1]),
        mask=tuple((row[0], row[1], row[2], row[3]) for row in rectangles),
        identifier=table.text("identifier", ""),
    )
