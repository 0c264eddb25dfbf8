"""Two-sided 95 % intervals of estimates whose rows come in clusters: what one subject does is not independent.

Shapes: N rows, G clusters, B resamples.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.domain import Doubles
from shared.evaluation.doubly_robust import CONFIDENCE
from shared.evaluation.estimators import Ratio

RESAMPLES: Final = 1000
# Bounds the memory of the bootstrap's counts, to 32 MB.
CELLS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """From `lower` to `upper`."""

    lower: float
    upper: float


def clusters_of(names: NDArray[np.generic]) -> NDArray[np.int64]:
    """[N]: the number of each row's cluster, from 0, of names that rows of one cluster share."""
    _, numbers_N = np.unique(names, return_inverse=True)
    return np.asarray(numbers_N, np.int64)


def standard_error(ratio: Ratio, clusters_N: NDArray[np.int64]) -> float:
    """By linearisation, robust to clusters (Liang and Zeger 1986); infinite for fewer than two clusters."""
    top_G, below_G = _sums(ratio, clusters_N)
    below = float(below_G.sum())
    if len(top_G) < 2 or below == 0.0:
        return math.inf
    # With √(G / (G - 1)) that of independent rows is the usual one.
    residual_G = top_G - ratio.value * below_G
    return math.sqrt(len(top_G) / (len(top_G) - 1) * float((residual_G**2).sum())) / abs(below)


def normal_interval(ratio: Ratio, clusters_N: NDArray[np.int64], confidence: float = CONFIDENCE) -> Interval:
    """By the central limit theorem."""
    error = standard_error(ratio, clusters_N)
    if math.isinf(error):
        return Interval(-math.inf, math.inf)
    margin = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Interval(ratio.value - margin, ratio.value + margin)


def bootstrap_interval(
    ratio: Ratio,
    clusters_N: NDArray[np.int64],
    generator: np.random.Generator,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentiles of the estimate over whole clusters drawn anew (Efron 1979; Field and Welsh 2007)."""
    top_G, below_G = _sums(ratio, clusters_N)
    count = len(top_G)
    if count < 2:
        return Interval(-math.inf, math.inf)
    at_once = max(1, CELLS // count)
    values: list[Doubles] = []
    for start in range(0, resamples, at_once):
        counts_BG = generator.multinomial(count, np.full(count, 1 / count), min(at_once, resamples - start))
        below_B = counts_BG @ below_G
        values.append((counts_BG @ top_G)[below_B != 0] / below_B[below_B != 0])
    lower, upper = np.quantile(np.concatenate(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(lower), float(upper))


def bernstein_interval(
    values_N: Doubles, clusters_N: NDArray[np.int64], bounds: tuple[float, float], confidence: float = CONFIDENCE
) -> Interval:
    """Of the mean of values within bounds, for any number of them (Maurer and Pontil 2009, theorem 4, on both sides).

    |mean - μ| ≤ √(2 V ln(4/δ) / n) + 7 R ln(4/δ) / (3 (n - 1)), with V the sample's variance and R the bounds' width.
    Clusters count by their sums, as if each were as wide as the largest.
    """
    sums_G = np.bincount(clusters_N, values_N)
    count = len(sums_G)
    if count < 2:
        return Interval(-math.inf, math.inf)
    low, high = bounds
    scale = count / len(values_N)
    width = (high - low) * int(np.bincount(clusters_N).max()) * scale
    term = math.log(4 / (1 - confidence))
    mean, variance = float(values_N.mean()), float((sums_G * scale).var(ddof=1))
    margin = math.sqrt(2 * variance * term / count) + 7 * width * term / (3 * (count - 1))
    return Interval(max(low, mean - margin), min(high, mean + margin))


def _sums(ratio: Ratio, clusters_N: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    top_G, below_G = (np.bincount(clusters_N, one).astype(np.float64) for one in (ratio.numerators, ratio.denominators))
    return top_G, below_G
