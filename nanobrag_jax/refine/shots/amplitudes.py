"""Amplitudes from intensities that may be negative, by Wilson's statistics."""

import numpy as np
from jaxtyping import Bool, Float, Int


def amplitudes_of(
    intensity: Float[np.ndarray, " n"],
    sigma: Float[np.ndarray, " n"],
    shell: Int[np.ndarray, " n"],
    centric: Bool[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Expected amplitudes and their standard deviations, where an intensity is known to be positive and its shell's
    mean is known.

    **Arguments:** `shell`: numbers of resolution shells.

    Source: S. French and K. Wilson, Acta Cryst. A34 (1978) 517.
    """
    mean = np.ones(len(intensity))
    for number in np.unique(shell):
        here = shell == number
        weight = 1.0 / (sigma[here] ** 2 + max(float(np.mean(intensity[here])), 1e-9) ** 2)
        mean[here] = max(float(np.sum(weight * intensity[here]) / np.sum(weight)), 1e-3 * float(np.mean(sigma[here])))
    grid = np.linspace(0.0, 1.0, 401)[1:]
    top = np.maximum(intensity, 0.0) + 6 * sigma
    amplitude = np.sqrt(top)[:, None] * grid
    true = amplitude**2
    logarithm = -0.5 * ((intensity[:, None] - true) / sigma[:, None]) ** 2
    prior = np.where(centric[:, None], -0.5 * true / mean[:, None], np.log(amplitude) - true / mean[:, None])
    logarithm = logarithm + prior
    weight = np.exp(logarithm - logarithm.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    expected = np.sum(weight * amplitude, axis=1)
    spread = np.sqrt(np.maximum(np.sum(weight * amplitude**2, axis=1) - expected**2, 0.0))
    return expected, spread
