"""Estimators of what another policy would have earned on logged decisions, each as a ratio of two sums over rows.

So that one linearisation and one bootstrap serve them all. Rows are supported ones: the logged distribution can draw
whatever the target's can. docs/evaluation.md says when to trust which.

Shapes: N logged decisions, A candidates of the longest; a row's places beyond its own candidates are zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from shared.domain import Doubles
from shared.evaluation.doubly_robust import LoggedChoices, doubly_robust, importance_weights

EstimatorName = Literal["ips", "snips", "dm", "dr", "switch_dr", "replay"]
ESTIMATORS: Final[tuple[EstimatorName, ...]] = get_args(EstimatorName)


@dataclass(frozen=True, slots=True)
class Ratio:
    """An estimate Σ numerator / Σ denominator, row by row; of a mean each denominator is 1."""

    numerators: Doubles  # [N]
    denominators: Doubles  # [N]

    @property
    def value(self) -> float:
        """NaN where no row counts."""
        below = float(self.denominators.sum())
        return float(self.numerators.sum()) / below if below else math.nan


def ips(logged: LoggedChoices, target_NA: Doubles, clip: float = math.inf) -> Ratio:
    """Inverse propensity score, the mean of w r (Horvitz and Thompson 1952); weights are clipped at `clip`."""
    weights_N = np.minimum(importance_weights(logged, target_NA), clip)
    return _mean(weights_N * logged.rewards)


def snips(logged: LoggedChoices, target_NA: Doubles, clip: float = math.inf) -> Ratio:
    """Self-normalised, Σ w r / Σ w (Swaminathan and Joachims 2015): never outside the rewards that were seen."""
    weights_N = np.minimum(importance_weights(logged, target_NA), clip)
    return Ratio(weights_N * logged.rewards, weights_N)


def dm(target_NA: Doubles, estimate_NA: Doubles) -> Ratio:
    """Direct method, the mean of Σ_a π(a) q̂(a): as right as the estimates q̂ are."""
    return _mean((target_NA * estimate_NA).sum(1))


def dr(logged: LoggedChoices, target_NA: Doubles, estimate_NA: Doubles, clip: float = math.inf) -> Ratio:
    """Doubly robust (Dudík, Langford and Li 2011), its weights clipped at `clip`."""
    values_N = doubly_robust(logged, target_NA, estimate_NA)
    if math.isfinite(clip):
        direct_N = dm(target_NA, estimate_NA).numerators
        weights_N = importance_weights(logged, target_NA)
        values_N = direct_N + (values_N - direct_N) * np.minimum(1.0, clip / np.maximum(weights_N, clip))
    return _mean(values_N)


def switch_dr(logged: LoggedChoices, target_NA: Doubles, estimate_NA: Doubles, threshold: float) -> Ratio:
    """Doubly robust where a row weighs at most the threshold, else the estimates alone (Wang, Agarwal, Dudík 2017)."""
    direct_N = dm(target_NA, estimate_NA).numerators
    corrects_N = importance_weights(logged, target_NA) <= threshold
    return _mean(np.where(corrects_N, doubly_robust(logged, target_NA, estimate_NA), direct_N))


def replay(logged: LoggedChoices, target_NA: Doubles) -> Ratio:
    """Mean reward of the rows that the target would have drawn too (Li et al. 2011), each by how likely it would.

    Right only where every candidate was equally likely to be logged.
    """
    matches_N = np.take_along_axis(target_NA, logged.taken[:, None], axis=1)[:, 0]
    return Ratio(matches_N * logged.rewards, matches_N)


def switching_threshold(count: int) -> float:
    """√N: a row then counts for at most 1/√N of the estimate (Ionides 2008, Truncated Importance Sampling)."""
    return math.sqrt(max(1, count))


def possible_weight(logged: LoggedChoices, target_NA: Doubles) -> float:
    """The largest weight that any draw from the logged distributions could have had; 0 for no rows."""
    p = logged.probabilities
    return float(np.divide(target_NA, p, out=np.zeros_like(p), where=p > 0).max(initial=0.0))


def value_bounds(
    name: EstimatorName, reward_range: tuple[float, float], most_weight: float
) -> tuple[float, float] | None:
    """Between what one row's part of a mean lies, for rewards and estimates within a range; None of a quotient."""
    low, high = reward_range
    match name:
        case "ips":
            return min(0.0, low, low * most_weight), max(0.0, high, high * most_weight)
        case "dm":
            return low, high
        case "dr" | "switch_dr":
            return low - most_weight * (high - low), high + most_weight * (high - low)
        case _:
            return None


def estimate_all(
    names: Sequence[EstimatorName],
    logged: LoggedChoices,
    target_NA: Doubles,
    estimate_NA: Doubles,
    clip: float = math.inf,
) -> dict[EstimatorName, Ratio]:
    """The named estimators; what needs expected rewards takes them from `estimate_NA`."""
    found: dict[EstimatorName, Ratio] = {}
    for name in names:
        match name:
            case "ips":
                found[name] = ips(logged, target_NA, clip)
            case "snips":
                found[name] = snips(logged, target_NA, clip)
            case "replay":
                found[name] = replay(logged, target_NA)
            case "dm":
                found[name] = dm(target_NA, estimate_NA)
            case "dr":
                found[name] = dr(logged, target_NA, estimate_NA, clip)
            case "switch_dr":
                threshold = min(clip, switching_threshold(len(logged.rewards)))
                found[name] = switch_dr(logged, target_NA, estimate_NA, threshold)
    return found


def _mean(values_N: Doubles) -> Ratio:
    return Ratio(values_N, np.ones_like(values_N))
