"""Doubly robust off-policy evaluation of logged decisions (Dudík, Langford and Li 2011), row by row.

Shapes: N logged decisions, A candidates of the longest; a row's places beyond its own candidates are zero.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.domain import Doubles

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class LoggedChoices:
    """What was drawn (its position), from which distribution, and the reward that came of it."""

    taken: NDArray[np.int64]  # [N]
    probabilities: Doubles  # [N, A]
    rewards: Doubles  # [N]

    def where(self, rows: NDArray[np.bool_]) -> "LoggedChoices":
        return LoggedChoices(self.taken[rows], self.probabilities[rows], self.rewards[rows])


@dataclass(frozen=True, slots=True)
class OneSidedBounds:
    """A mean with the bounds that it stays above, and below, with the confidence each."""

    mean: float
    lower: float
    upper: float


def supported(logged: LoggedChoices, target_NA: Doubles) -> NDArray[np.bool_]:
    """[N]: True where the logged distribution can draw whatever the target's can."""
    fits_N: NDArray[np.bool_] = np.all((logged.probabilities > 0) | (target_NA <= 0), axis=1)
    return fits_N


def importance_weights(logged: LoggedChoices, target_NA: Doubles) -> Doubles:
    """[N]: how much likelier the target makes the action that was drawn; supported rows only."""
    return _at(target_NA, logged.taken) / _at(logged.probabilities, logged.taken)


def doubly_robust(logged: LoggedChoices, target_NA: Doubles, estimate_NA: Doubles) -> Doubles:
    """[N]: the target's value on each row, Σ_a π(a) q̂(a) + π(a_i) / p_i · (r_i - q̂(a_i)).

    Unbiased where the logged probabilities are true, whatever the estimates q̂, as long as these rows had no part in
    them; the better they are, the smaller its variance.
    """
    residual_N = logged.rewards - _at(estimate_NA, logged.taken)
    direct_N: Doubles = (target_NA * estimate_NA).sum(1)
    return direct_N + importance_weights(logged, target_NA) * residual_N


def effective_sample_size(weights_N: Doubles) -> float:
    """(Σ w)² / Σ w²: how many rows without weights would be worth as much (Kish 1965); 0 for none."""
    squares = float((weights_N**2).sum())
    return 0.0 if squares == 0.0 else float(weights_N.sum()) ** 2 / squares


def one_sided_bounds(values_N: Doubles, confidence: float = CONFIDENCE) -> OneSidedBounds:
    """Bounds of the mean of independent values, by the central limit theorem; infinite below two of them."""
    count = len(values_N)
    if count < 2:
        return OneSidedBounds(float(values_N.sum()), -math.inf, math.inf)
    mean = float(values_N.mean())
    margin = NormalDist().inv_cdf(confidence) * float(values_N.std(ddof=1)) / math.sqrt(count)
    return OneSidedBounds(mean, mean - margin, mean + margin)


def _at(values_NA: Doubles, positions_N: NDArray[np.int64]) -> Doubles:
    return np.take_along_axis(values_NA, positions_N[:, None], axis=1)[:, 0]
