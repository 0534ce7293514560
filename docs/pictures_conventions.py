"""The pictures of docs/conventions.md, drawn from the package's own geometry.

    python docs/pictures_conventions.py [FOLDER]

FOLDER is docs/images where none is given. Every place in a picture is where `detector_frame` puts it for the flags that
the picture names; nothing is drawn from a formula of this script. Needs matplotlib.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

import nanobrag_jax as nb
from nanobrag_jax.detector import detector_frame

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

BLUE, ORANGE, GREEN, GREY = "#2166ac", "#d6604d", "#1b7837", "#888888"
PIXEL, FAST, SLOW = 10.0, 6, 4
"""A detector of few large pixels (mm), so that half a pixel can be seen."""
CONVENTIONS = {
    "MOSFLM": ("-mosflm", "-Xbeam", "-Ybeam"),
    "DENZO": ("-denzo", "-Xbeam", "-Ybeam"),
    "ADXV": ("-adxv", "-Xbeam", "-Ybeam"),
    "XDS": ("-xds", "-ORGX", "-ORGY"),
    "DIALS": ("-dials", "-ORGX", "-ORGY"),
    "CUSTOM": ("-fdet_vector 0 0 1", "-Xbeam", "-Ybeam"),
}
"""Name → the flag that selects it, and those of its beam centre."""


class Stand(NamedTuple):
    """A detector as it stands in the lab, millimetres."""

    beam: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    normal: np.ndarray
    pix0: np.ndarray

    @property
    def spot(self) -> np.ndarray:
        """(fast, slow) from the outer corner of the first pixel to where the beam meets the detector."""
        away = (self.pix0 @ self.normal) / (self.beam @ self.normal) * self.beam - self.pix0
        return np.array([away @ self.fast, away @ self.slow])

    @property
    def foot(self) -> np.ndarray:
        """(fast, slow) of the point nearest to the sample."""
        return np.array([-self.pix0 @ self.fast, -self.pix0 @ self.slow])

    def lab(self, point) -> np.ndarray:
        """(x, y, z) of a point (fast, slow) of the detector."""
        return self.pix0 + point[0] * self.fast + point[1] * self.slow


def stand(flags: str, pixel: float = PIXEL, fast: int = FAST, slow: int = SLOW) -> Stand:
    """The detector that flags describe."""
    size = f"-pixel {pixel} -detpixels_f {fast} -detpixels_s {slow} -cell 50 50 50 90 90 90 -default_F 1"
    experiment = nb.experiment_from_args([*size.split(), *flags.split()])
    frame = detector_frame(experiment.detector, experiment.beam)
    vectors = (frame.beam, frame.fast, frame.slow, frame.normal, frame.pix0 * 1e3)
    return Stand(*(np.asarray(v) for v in vectors))


def origin_and_axes(name: str, pixel: float = PIXEL, fast: int = FAST, slow: int = SLOW):
    """Where the two numbers of a beam centre are counted from and along, (fast, slow) mm: origin, one X, one Y."""
    select, x, y = CONVENTIONS[name]
    at = lambda u, v: stand(f"{select} {x} {u} {y} {v}", pixel, fast, slow).spot  # noqa: E731
    origin = at(0, 0)
    return origin, at(1, 0) - origin, at(0, 1) - origin


def lab_name(vector) -> str:
    """`+x`, `−z` …: the lab axis along a vector."""
    axis = int(np.argmax(np.abs(vector)))
    return ("−" if vector[axis] < 0 else "+") + "xyz"[axis]


def _arrow(axes, start, end, color, label="", shift=(0, 0), **text):
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
    middle = (np.asarray(start) + np.asarray(end)) / 2 + shift
    axes.text(*middle, label, color=color, **({"fontsize": 8, "ha": "center", "va": "center"} | text))


def _convention(axes, name: str) -> None:
    """One convention as seen along the beam, the fast axis to the right."""
    origin, one_x, one_y = origin_and_axes(name)
    select, x_flag, y_flag = CONVENTIONS[name]
    in_pixels = x_flag == "-ORGX"
    u, v = (2, 3) if in_pixels else (15, 25)
    it = stand(f"{select} {x_flag} {u} {y_flag} {v}")
    up = np.cross(it.fast, it.beam)
    turn = np.sign(it.slow @ up)
    screen = lambda p: np.array([p[0], p[1] * turn])  # noqa: E731
    for i in range(FAST + 1):
        axes.plot(*np.transpose([screen((i * PIXEL, s)) for s in (0, SLOW * PIXEL)]), color="#cccccc", lw=0.8)
    for i in range(SLOW + 1):
        axes.plot(*np.transpose([screen((f, i * PIXEL)) for f in (0, FAST * PIXEL)]), color="#cccccc", lw=0.8)
    first = [screen(p) for p in ((0, 0), (PIXEL, 0), (PIXEL, PIXEL), (0, PIXEL))]
    axes.fill(*np.transpose(first), color="#bbbbbb")
    axes.text(*screen((PIXEL / 2, PIXEL / 2)), "[0,0]", fontsize=7, ha="center", va="center")
    fast_end, slow_end = screen((FAST * PIXEL, -4)), screen((-4, SLOW * PIXEL))
    _arrow(axes, screen((0, -4)), fast_end, GREY, f"fast = {lab_name(it.fast)}", screen((0, -3.5)))
    _arrow(axes, screen((-4, 0)), slow_end, GREY, f"slow = {lab_name(it.slow)}", (-4, 0), rotation=90)
    corner = origin + u * one_x
    _arrow(axes, screen(origin), screen(corner), ORANGE)
    _arrow(axes, screen(corner), screen(it.spot), BLUE)
    axes.plot(*screen(origin), "o", color="black", ms=5)
    axes.plot(*screen(it.spot), "*", color=GREEN, ms=13)
    middle = turn * SLOW * PIXEL / 2
    _lab_axes(axes, it, up, np.array([FAST * PIXEL + 14, middle]))
    lines = (name, f"{x_flag} {u}, {y_flag} {v}: fast {it.spot[0]:g}, slow {it.spot[1]:g} mm")
    axes.set_title("\n".join(lines), fontsize=9)
    axes.set_aspect("equal")
    axes.set_xlim(-14, FAST * PIXEL + 28)
    axes.set_ylim(middle - 29, middle + 29)
    axes.axis("off")


def _lab_axes(axes, it: Stand, up, base) -> None:
    """The lab's axes from a point of the picture: two in its plane, a cross for the one that goes into it."""
    for axis in np.eye(3):
        seen = np.array([axis @ it.fast, axis @ up])
        if np.abs(seen).max() > 0.5:
            _arrow(axes, base, base + 9 * seen, "black", lab_name(axis)[1], 7.5 * seen)
        else:
            axes.plot(*base, "o", mfc="white", mec="black", ms=8)
            axes.plot(*base, "x" if axis @ it.beam > 0 else ".", color="black", ms=5)
            axes.text(*(base - 5), lab_name(axis)[1], fontsize=8, ha="center", va="center")


def conventions(path: Path) -> None:
    """All six, each with the beam centre's origin and where two numbers put the beam."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), layout="constrained")
    for place, name in zip(axes.flat, CONVENTIONS, strict=True):
        _convention(place, name)
    _save(figure, path)


def half_pixel(path: Path) -> None:
    """The corner of the first pixel and where each convention counts from, in pixels."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for edge in range(4):
        axes.plot([0, 3], [edge, edge], color=GREY, lw=1)
        axes.plot([edge, edge], [0, 3], color=GREY, lw=1)
    for fast in range(3):
        for slow in range(2):
            axes.text(fast + 0.5, slow + 0.8, f"image[{slow}, {fast}]", fontsize=8, ha="center", color=GREY)
    marks = {"MOSFLM": ("o", ORANGE), "DENZO": ("s", BLUE), "CUSTOM": ("x", "black")}
    for name, (mark, color) in marks.items():
        at = origin_and_axes(name, 1.0, 3, 3)[0]
        label = f"{name}: Xbeam = Ybeam = 0"
        axes.plot(*at, mark, color=color, ms=9, label=label, clip_on=False)
    origin, one_x, one_y = origin_and_axes("XDS", 1.0, 3, 3)
    axes.plot(*origin, "D", color=GREEN, ms=7, label="XDS, DIALS: ORGX = ORGY = 0", clip_on=False)
    one = origin + one_x + one_y
    axes.plot(*one, "D", mfc="none", mec=GREEN, ms=13, mew=1.5, label="XDS, DIALS: ORGX = ORGY = 1")
    corner = origin_and_axes("ADXV", 1.0, 3, 3)[0]
    axes.plot(*corner, "^", color="#762a83", ms=9, label="ADXV: Xbeam = Ybeam = 0", clip_on=False)
    axes.set_xlim(-0.8, 3.1)
    axes.set_ylim(3.15, -0.8)
    axes.set_aspect("equal")
    axes.set_xlabel("pixels along fast from the corner")
    axes.set_ylabel("pixels along slow")
    axes.set_title("Where zero is (a detector of 3 × 3 pixels)", fontsize=10)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    _save(figure, path)


def _side(axes, flags: str, title: str) -> None:
    """A detector of 80 mm from the side, lab x along the beam; dashed without tilt and swing."""
    for text, style in (("", "--"), (flags, "-")):
        it = stand(f"-distance 100 {text}", 1.0, 80, 80)
        ends = np.array([it.lab((0, 0)), it.lab((0, 80))])
        color = GREY if style == "--" else "black"
        axes.plot(ends[:, 0], ends[:, 1], style, color=color, lw=1 if style == "--" else 3)
    spot, foot = it.lab(it.spot), it.lab(it.foot)
    axes.plot([-25, 125], [0, 0], color=ORANGE, lw=1.5)
    axes.plot([0, foot[0]], [0, foot[1]], color=BLUE, lw=1.5)
    axes.plot(0, 0, "o", color="black", ms=7)
    axes.plot(*spot[:2], "*", color=GREEN, ms=15, zorder=3)
    axes.plot(*foot[:2], "D", color=BLUE, ms=7, zorder=3)
    axes.text(-24, 3, "beam, +x", color=ORANGE, fontsize=8)
    axes.text(0, -9, "sample", fontsize=8, ha="center")
    far = f"beam spot (slow {it.spot[1]:.1f} mm), {np.linalg.norm(spot):.1f} mm away"
    near = f"nearest point (slow {it.foot[1]:.1f} mm), {np.linalg.norm(foot):.1f} mm away"
    axes.set_xlabel(f"★ {far}\n◆ {near}", fontsize=8)
    axes.set_title(f"{title}\n{flags}", fontsize=9)
    axes.set_aspect("equal")
    axes.set_xlim(-28, 128)
    axes.set_ylim(-70, 75)
    axes.set_xticks([])
    axes.set_yticks([])


def pivots(path: Path) -> None:
    """A tilted and a swung detector with either pivot."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 10), layout="constrained")
    _side(axes[0, 0], "-detector_rotz 20 -pivot beam", "Tilt, pivot beam")
    _side(axes[0, 1], "-detector_rotz 20 -pivot sample", "Tilt, pivot sample")
    _side(axes[1, 0], "-twotheta 25 -pivot beam", "Two-theta, pivot beam")
    _side(axes[1, 1], "-twotheta 25 -pivot sample", "Two-theta, pivot sample")
    _save(figure, path)


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)
    print(f"wrote {path}")


def main(folder: str = str(Path(__file__).parent / "images")) -> None:
    """All pictures."""
    conventions(Path(folder) / "conventions.png")
    half_pixel(Path(folder) / "half_pixel.png")
    pivots(Path(folder) / "pivots.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
