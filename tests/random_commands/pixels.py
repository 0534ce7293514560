"""One pixel after the other, sample after sample (docs/reference.md sections 8 and 10)."""

import math
from pathlib import Path

import numpy as np

from .counts import phi_angles, sources
from .crystal import Amplitudes, crystal_of, hangs_on_rounding, lattice_factor
from .detector import detector_of, rotation_about, unit
from .draws import mosaic_rotations
from .line import Settings, read_line

R_E_SQR = 7.94079248018965e-30
WATER = 2.57**2 * 1e6 * 6.02214179e23 / 18.0
"""F² of a molecule, times molecules in a cubic metre."""


def dot(u, v) -> float:
    """Scalar product of three numbers each."""
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


class Restated:
    """A command's image, (slow, fast): c-parity with `slips`, else spec."""

    def __init__(self, words: list[str], folder: Path, slips: bool):
        self.slips = slips
        self.settings = s = read_line(words, folder)
        self.detector = d = detector_of(s, slips)
        self.crystal = crystal_of(s, folder, slips)
        self.sources = [(tuple(v), wave, weight) for v, wave, weight in sources(s, folder, d.beam, d.polar)]
        mean = sum(weight for *_, weight in self.sources) / len(self.sources)
        self.sources = [(v, wave, 1.0 if slips else weight / mean) for v, wave, weight in self.sources]
        self.frames = [_polarization_frame(v, d.polar) for v, *_ in self.sources]
        self.amplitudes = Amplitudes(s, folder)
        by_flag = min(max(1.0, s[name]) for name in ("Na", "Nb", "Nc")) <= 2
        self.interpolating = bool(self.amplitudes) and (by_flag if s["interpolate"] is None else s["interpolate"])
        self.angles = phi_angles(s)
        self.domains = _domains(s)
        self.vectors = self._all_orientations()
        self.state = -1
        self.oversample = self._oversample()
        self.fluence = s["fluence"]
        if s["flux"] and s["exposure"] > 0 and s["beamsize"] >= 0:
            self.fluence = s["flux"] * s["exposure"] / (s["beamsize"] * 1e-3) ** 2
        self.steps = len(self.sources) * len(self.angles) * len(self.domains) * self.oversample**2
        self.water = WATER * (s["water"] * 1e-6) ** 3
        self.dmin = s["dmin"] * 1e-10
        self.doubtful = np.zeros(self.detector.pixels, bool)
        """Pixels that the last digits of some number decide."""

    def _all_orientations(self) -> dict[int, list]:
        """Rows a, b, c in each domain, by φ step; −1 for the crystal that no φ step has turned."""
        spindle, real = self.detector.spindle, self.crystal.real
        turned = {-1: real} | {i: real @ rotation_about(spindle, phi).T for i, phi in enumerate(self.angles)}
        return {i: [(rows @ domain.T).tolist() for domain in self.domains] for i, rows in turned.items()}

    def _oversample(self) -> int:
        given = self.settings["oversample"]
        if given is not None:
            return int(given)
        extent = max(
            n * edge for n, edge in zip(self.crystal.cells, np.linalg.norm(self.crystal.real, axis=1), strict=True)
        )
        reach = self.settings["wavelength"] * 1e-10 * self.detector.distance / self.detector.pixel
        return max(1, math.ceil(3.0 * extent / reach))

    @property
    def passes_nothing_on(self) -> bool:
        """Whether each pixel is the same whichever were rendered before it."""
        return not self.slips or not (self.interpolating or 0.0 in self.angles)

    def image(self, every: int = 1) -> np.ndarray:
        """Photons, float32; of every so manieth row, zero in the others."""
        rows, columns = self.detector.pixels
        f0, f1, s0, s1 = self.settings["roi"] or (0, columns - 1, 0, rows - 1)
        mask = self.settings["mask_pixels"]
        found = np.zeros((rows, columns), np.float32)
        for slow in (row for row in range(s0, s1 + 1) if row % every == 0):
            for fast in range(f0, f1 + 1):
                if mask is None or mask[slow, fast]:
                    found[slow, fast] = self.pixel(slow, fast)
        return found

    def pixel(self, slow: int, fast: int) -> float:
        """Photons of a pixel; those of the pixels before have to be asked for before."""
        return (_Slipped if self.slips else _Correct)(self, slow, fast).photons()

    def next_vectors(self, step: int) -> list:
        """Rows a, b, c of a φ step in each domain: in c-parity a step at zero takes what is there."""
        if not self.slips or self.angles[step] != 0.0:
            self.state = step
        return self.vectors[self.state]

    def amplitude(self, hkl, index) -> float:
        """F of a sample; in c-parity the first whose neighbours leave the grid turns interpolation off."""
        if not self.interpolating:
            return self.amplitudes.nearest(index)
        if self.amplitudes.surrounded(hkl):
            return self.amplitudes.interpolated(hkl)
        self.interpolating = not self.slips
        return self.amplitudes.nearest(index)


def _domains(s: Settings) -> list[np.ndarray]:
    spread, count = s["mosaic"] or 0.0, s["domains"]
    if not spread:
        return [np.eye(3)]
    return mosaic_rotations(int(s["mosaic_seed"]), math.radians(spread), int(count or 10))


def _polarization_frame(incident, polar) -> tuple:
    across = unit(np.cross(polar, incident))
    return tuple(across), tuple(unit(np.cross(incident, across)))


class _Pixel:
    """What both modes do for a pixel: the geometry of its samples in loop order."""

    def __init__(self, scene: Restated, slow: int, fast: int):
        self.scene, self.slow, self.fast = scene, slow, fast
        self.polar = 1.0 if scene.settings["nopolar"] else None
        self.omega = None

    def points(self):
        """(layer, direction, solid angle, cosine to the normal) of each sub-pixel of each layer."""
        d, s, n = self.scene.detector, self.scene.settings, self.scene.oversample
        for layer in range(d.layers):
            for j in range(n):
                for i in range(n):
                    along = d.pixel / n * (self.fast * n + i + 0.5), d.pixel / n * (self.slow * n + j + 0.5)
                    place = along[0] * d.fast + along[1] * d.slow + layer * d.layer * d.normal + d.pix0
                    if s["curved"]:
                        place = rotation_about(d.slow, place[1] / d.distance) @ (d.distance * d.beam), place[2]
                        place = rotation_about(d.fast, place[1] / d.distance) @ place[0]
                    length = math.sqrt(dot(place, place))
                    omega = 1 / length**2 if s["point_pixel"] else d.pixel**2 / length**2 * d.close_distance / length
                    direction = (place / length).tolist()
                    yield layer, direction, omega, dot(direction, d.normal)

    def capture(self, layer: int, cosine: float) -> float:
        """Fraction that a layer stops."""
        d = self.scene.detector
        if d.layer == 0:
            return 1.0
        reach = d.layer * d.mu / cosine
        return math.exp(-layer * reach) - math.exp(-(layer + 1) * reach)

    def lit(self, direction):
        """(q in 1/m, weight, polarisation factor) for each source that dmin does not leave out."""
        scene = self.scene
        for (incident, wave, weight), frame in zip(scene.sources, scene.frames, strict=True):
            q = [(x - y) / wave for x, y in zip(direction, incident, strict=True)]
            length = math.sqrt(dot(q, q))
            if scene.dmin > 0 and abs(scene.dmin * length - 1) < 1e-10:
                scene.doubtful[self.slow, self.fast] = True
            if scene.dmin > 0 and length > 0 and scene.dmin > 1 / length:
                continue
            yield q, weight, self._polarization(incident, frame, direction)

    def _polarization(self, incident, frame, direction) -> float:
        kahn = self.scene.settings["polar"]
        c = dot(incident, direction)
        psi = -math.atan2(dot(direction, frame[0]), dot(direction, frame[1])) if kahn else 0.0
        return 0.5 * (1 + c * c - kahn * math.cos(2 * psi) * (1 - c * c))

    def samples(self, q):
        """(F·F_latt)² of each φ step and domain that the reference does not skip."""
        scene, s = self.scene, self.scene.settings
        for step in range(len(scene.angles)):
            for real in scene.next_vectors(step):
                hkl = [dot(axis, q) for axis in real]
                index = [math.ceil(x - 0.5) for x in hkl]
                of_sample = scene.crystal, s["shape"], s["fudge"], hkl, index, scene.slips
                if hangs_on_rounding(*of_sample):
                    scene.doubtful[self.slow, self.fast] = True
                factor = lattice_factor(*of_sample)
                if factor != 0.0 or s["water"]:
                    yield (scene.amplitude(hkl, index) * factor) ** 2


class _Slipped(_Pixel):
    """The reference's own sum."""

    def photons(self) -> float:
        scene, s = self.scene, self.scene.settings
        scale = R_E_SQR * scene.fluence
        total, capture, seen = scene.water * scale, 1.0, -1
        for layer, direction, omega, cosine in self.points():
            if layer != seen or s["oversample_thick"]:
                capture, seen = self.capture(layer, cosine), layer
            if self.omega is None or s["oversample_omega"]:
                self.omega = omega
            for q, _, polar in self.lit(direction):
                if self.polar is None or s["oversample_polar"]:
                    self.polar = polar
                for term in self.samples(q):
                    total += term
                    total *= capture if s["oversample_thick"] else 1.0
                    total *= self.polar if s["oversample_polar"] else 1.0
                    total *= self.omega if s["oversample_omega"] else 1.0
        total *= scale / scene.steps
        total *= 1.0 if s["oversample_thick"] else capture
        total *= 1.0 if s["oversample_polar"] else (self.polar or 0.0)
        return total * (1.0 if s["oversample_omega"] else self.omega)


class _Correct(_Pixel):
    """Every term with its own factors, and the background once."""

    def photons(self) -> float:
        scene, s = self.scene, self.scene.settings
        total, background, of_layer = 0.0, 0.0, {}
        for layer, direction, omega, cosine in self.points():
            if layer not in of_layer:
                of_layer[layer] = self.capture(layer, cosine)
            if self.omega is None:
                self.omega, first_cosine = omega, cosine
            capture = self.capture(layer, cosine) if s["oversample_thick"] else of_layer[layer]
            for q, weight, polar in self.lit(direction):
                polar = 1.0 if s["nopolar"] else polar
                self.polar = polar if self.polar is None else self.polar
                factor = weight * capture * (polar if s["oversample_polar"] else self.polar)
                factor *= omega if s["oversample_omega"] else self.omega
                total += factor * sum(self.samples(q))
        if scene.water:
            stopped = sum(self.capture(layer, first_cosine) for layer in range(scene.detector.layers))
            background = scene.water * stopped * (self.polar or 0.0) * self.omega
        return R_E_SQR * scene.fluence * (total / scene.steps + background)
