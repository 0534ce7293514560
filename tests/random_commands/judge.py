"""Commands judged: the package's image against the restatement's."""

import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nanobrag_jax as nb

from .pixels import Restated

RELATIVE, OF_PEAK = 1e-6, 1e-9
"""As for the golden images."""


class Verdict(NamedTuple):
    """What came out for one command in one mode."""

    words: list[str]
    mode: str
    ratio: float
    """Largest deviation over the tolerance."""
    pixel: tuple[int, int]
    """Where it is, (slow, fast)."""
    ours: float
    theirs: float
    doubtful: int
    """Pixels left out because the last digits of some number decide them."""
    dark: bool
    """Whether the whole image is zero."""

    def __str__(self) -> str:
        return (
            f"{self.mode}: {shlex.join(self.words)}\n  worst pixel: slow {self.pixel[0]}, fast {self.pixel[1]}: "
            f"{self.ours!r}, the restatement {self.theirs!r}, {self.ratio:.3g} times the tolerance"
        )


def rendered(words: list[str], folder: Path, mode: str) -> np.ndarray:
    """The package's image. The scene is evaluated without compiling it: only the loop over pixels is compiled."""
    return np.asarray(nb.simulate(nb.experiment_from_args([*words, "-mode", mode], folder), mode), np.float32)


def _deviation(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """|ours − theirs| over the tolerance; 0 where they are equal, infinite ones included."""
    peak = np.max(np.abs(theirs), initial=0.0, where=np.isfinite(theirs))
    same = ours == theirs
    with np.errstate(invalid="ignore"):
        ratio = np.abs(ours - theirs) / np.maximum(RELATIVE * np.abs(theirs) + OF_PEAK * peak, 1e-300)
    return np.where(same, 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def judged(words: list[str], folder: Path, mode: str) -> Verdict:
    """Both images of a command, compared."""
    with np.errstate(over="ignore"):  # a running sum that is multiplied with 1/R² after each sample leaves float32
        restated = Restated(words, folder, mode == "c-parity")
        theirs = restated.image()
        ours = rendered(words, folder, mode)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    ratio = _deviation(ours.astype(float), theirs.astype(float))
    ratio[restated.doubtful] = 0.0
    place = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    at = int(place[0]), int(place[1])
    return Verdict(
        words,
        mode,
        float(ratio[at]),
        at,
        float(ours[at]),
        float(theirs[at]),
        int(restated.doubtful.sum()),
        not theirs.any(),
    )
