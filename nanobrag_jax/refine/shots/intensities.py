"""Intensities common to all shots: normal equations added up shot by shot, and what solves them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...errors import InputError
from .blocks import Blocks

MOST_DENSE = 6000
"""Reflections up to which what shots' parameters have to do with intensities is kept between all of them."""


@dataclass(frozen=True)
class IntensityRestraints:
    """What is known of intensities besides the pixels; σ relative to the mean of a reflection's shell.

    **Arguments:**

    - `start`: to where they started; `shell_mean`: of the mean of each shell to what it was at the start;
    - `bijvoet`: of the difference of Bijvoet mates that are kept apart; None for none of them;
    - `shells`: how many, with equally many reflections each.
    """

    start: float | None = None
    shell_mean: float | None = None
    bijvoet: float | None = None
    shells: int = 10

    def __post_init__(self):
        for name in ("start", "shell_mean", "bijvoet"):
            sigma = getattr(self, name)
            if sigma is not None and not sigma > 0:
                raise InputError(f"the sigma of {name} must be positive, got {sigma:g}")


@dataclass(frozen=True)
class Groups:
    """Reflections whose intensities are refined.

    `labels` (groups, 4): h, k, l of the representative, and 1 for a Bijvoet mate that is kept apart; `q` (groups,):
    1/d, 1/Å; `start` (groups,): intensity that a factor of 1 stands for; `centric` (groups,).
    """

    labels: Int[np.ndarray, "groups 4"]
    q: Float[np.ndarray, " groups"]
    start: Float[np.ndarray, " groups"]
    centric: np.ndarray

    @property
    def count(self) -> int:
        """How many."""
        return len(self.labels)

    def shells(self, number: int) -> Int[np.ndarray, " groups"]:
        """The shell of each, by 1/d, with equally many in each."""
        number = max(1, min(number, self.count // 5))
        place = np.argsort(np.argsort(self.q, kind="stable"), kind="stable")
        return place * number // max(self.count, 1)


def restraint_rows(
    groups: Groups, asked: IntensityRestraints
) -> tuple[Float[np.ndarray, "rows groups"], Float[np.ndarray, " rows"]]:
    """Rows J and targets t of residuals J f − t, f the factors of the intensities' starts."""
    shell = groups.shells(asked.shells)
    mean = np.array([groups.start[shell == s].mean() for s in range(shell.max() + 1)]) if groups.count else np.zeros(0)
    relative = groups.start / np.maximum(mean[shell], 1e-300)
    rows, targets = [np.zeros((0, groups.count))], [np.zeros(0)]
    if asked.start is not None:
        rows.append(np.diag(relative / asked.start))
        targets.append(relative / asked.start)
    if asked.shell_mean is not None:
        member = (shell[None] == np.arange(shell.max() + 1)[:, None]) * relative / asked.shell_mean
        rows.append(member / np.bincount(shell)[:, None])
        targets.append(rows[-1].sum(axis=1))
    if asked.bijvoet is not None:
        pairs = _pairs(groups.labels)
        differences = np.zeros((len(pairs), groups.count))
        for row, (plus, minus) in enumerate(pairs):
            differences[row, plus] = relative[plus] / asked.bijvoet
            differences[row, minus] = -relative[minus] / asked.bijvoet
        rows.append(differences)
        targets.append(np.zeros(len(pairs)))
    return np.concatenate(rows), np.concatenate(targets)


def _pairs(labels: Int[np.ndarray, "groups 4"]) -> list[tuple[int, int]]:
    """Numbers of mates that are both there."""
    known = {tuple(row): number for number, row in enumerate(labels.tolist())}
    return [(known[(*row[:3], 0)], number) for row, number in known.items() if row[3] == 1 and (*row[:3], 0) in known]


class Sums:
    """Normal equations of the intensities, every shot's own parameters eliminated.

    **Arguments:** `count`: of groups; `damping`: what shots' parameters are held by.
    """

    def __init__(self, count: int, damping: float):
        self.count, self.damping = count, damping
        self.dense = count <= MOST_DENSE
        self.matrix = np.zeros((count, count)) if self.dense else np.zeros(0)
        self.diagonal, self.gradient = np.zeros(count), np.zeros(count)
        self.objective = self.chi_square = self.pixels = 0.0

    def add(self, shot: Blocks, group: Int[np.ndarray, " boxes"]) -> None:
        """Add a shot. **Arguments:** `group`: of each of its boxes, −1 for those that only fill up."""
        if not all(np.isfinite(values).all() for values in shot):
            self.objective = np.inf
            return
        some = group >= 0
        number = group[some]
        self.objective += float(shot.objective)
        self.chi_square += float(shot.chi_square)
        self.pixels += float(shot.pixels)
        inverse = inverse_of(np.asarray(shot.matrix), self.damping)
        mixed = np.asarray(shot.mixed)[some]
        coupled = mixed @ inverse
        np.add.at(self.gradient, number, shot.factor_gradient[some] - coupled @ shot.gradient)
        np.add.at(self.diagonal, number, shot.factor_matrix[some])
        if self.dense:
            np.add.at(self.matrix, (number[:, None], number[None]), -coupled @ mixed.T)

    def solved(
        self,
        factors: Float[np.ndarray, " groups"],
        restraints: tuple[np.ndarray, np.ndarray],
        scaled: bool,
    ) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
        """The step of the factors, and their variances.

        **Arguments:** `factors`: where they are; `restraints`: rows and targets; `scaled`: whether each shot has a
        scale of its own: then the common scale stays what it is.
        """
        rows, targets = restraints
        gradient = self.gradient + rows.T @ (rows @ factors - targets)
        lift = np.where(self.diagonal > 0, self.damping * self.diagonal, 1.0)
        if not self.dense:
            diagonal = self.diagonal + lift + np.sum(rows**2, axis=0)
            return -gradient / diagonal, 1.0 / diagonal
        matrix = self.matrix + np.diag(self.diagonal + lift) + rows.T @ rows
        if scaled:
            along = self.diagonal * factors
            length = float(along @ along)
            if length > 0:
                matrix = matrix + np.outer(along, along) * (np.trace(matrix) / self.count / length)
        size = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        inverse = np.linalg.pinv(matrix * np.outer(size, size), rcond=1e-12, hermitian=True) * np.outer(size, size)
        return -inverse @ gradient, np.diag(inverse)


def inverse_of(matrix: Float[np.ndarray, "n n"], damping: float) -> Float[np.ndarray, "n n"]:
    """Of a shot's matrix, damped; combinations that its data do not see stay put."""
    diagonal = np.diag(matrix)
    lifted = matrix + np.diag(np.where(diagonal > 0, damping * diagonal, 1.0))
    scale = 1.0 / np.sqrt(np.maximum(np.diag(lifted), 1e-300))
    return np.linalg.pinv(lifted * np.outer(scale, scale), rcond=1e-12, hermitian=True) * np.outer(scale, scale)


def merged_start(
    factors: list[np.ndarray], weights: list[np.ndarray], groups: list[np.ndarray], count: int, rounds: int = 30
) -> tuple[Float[np.ndarray, " shots"], Float[np.ndarray, " groups"]]:
    """Scales of shots and common factors whose products are nearest to the factors of their boxes.

    **Arguments:** for each shot the factors of its boxes alone, their weights (1/variance) and groups (−1 for none).
    """
    scales, common = np.ones(len(factors)), np.ones(count)
    for _ in range(rounds):
        above, below = np.zeros(count), np.zeros(count)
        for scale, factor, weight, group in zip(scales, factors, weights, groups, strict=True):
            some = group >= 0
            np.add.at(above, group[some], (weight * factor * scale)[some])
            np.add.at(below, group[some], (weight * scale**2)[some])
        common = np.where(below > 0, above / np.where(below > 0, below, 1.0), 1.0)
        common = np.maximum(common, 1e-3)
        for shot, (factor, weight, group) in enumerate(zip(factors, weights, groups, strict=True)):
            some = group >= 0
            model = common[group[some]]
            total = float(np.sum(weight[some] * model**2))
            if total > 0:
                scales[shot] = max(float(np.sum(weight[some] * model * factor[some])) / total, 1e-3)
        middle = float(np.exp(np.mean(np.log(scales)))) if len(scales) else 1.0
        scales, common = scales / middle, common * middle
    return scales, common
