"""Bounds that hold at every look, however often one looks.

Sources: Robbins (1970) and Howard, Ramdas, McAuliffe and Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic
confidence sequences", section 3.2, for the normal mixture's boundary; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas
(2024), "Time-uniform central limit theory and asymptotic confidence sequences", for taking an estimated variance as its
time.
"""

import math
from typing import Final

# The information (decisions times share times the rest) at which the boundary is tightest: some 4,400 decisions with a
# tenth of them the version's, 1,600 with one half.
TIGHTEST_AT: Final = 400.0


def mixture_scale(time: float, alpha: float) -> float:
    """ρ with which the one-sided boundary is about tightest at an intrinsic time (Howard et al. 2021, section 3.5)."""
    wanted = -2 * math.log(2 * alpha)
    return time / (wanted + math.log1p(wanted))


def normal_mixture_boundary(time: float, alpha: float, scale: float) -> float:
    """u with P(some S_t ≥ u(V_t)) ≤ α for a 1-sub-Gaussian process S of intrinsic time V.

    The closed form of the one-sided normal mixture: √(2(v+ρ) log(1/(2α) √((v+ρ)/ρ) + 1)).
    """
    return math.sqrt(2 * (time + scale) * math.log(math.sqrt((time + scale) / scale) / (2 * alpha) + 1))


def deviation(variance_sum: float, unit_variance: float, third_sum: float, alpha: float) -> float:
    """How far a sum of centred terms may stray above zero at any time, with probability α at most.

    Args:
        variance_sum: estimated variance of the sum.
        unit_variance: variance of one outcome, in whose units the boundary's time is counted.
        third_sum: estimated third moment of the sum: where it is above zero, a few large terms lift the sum further
            than a normal one strays (Cornish and Fisher 1938; Bernstein's term is the most that it can come to).
    """
    if unit_variance <= 0:
        return math.inf
    boundary = normal_mixture_boundary(variance_sum / unit_variance, alpha, mixture_scale(TIGHTEST_AT, alpha))
    skew = max(0.0, third_sum) / variance_sum
    return math.sqrt(unit_variance) * boundary + skew * math.log(1 / alpha) / 3
