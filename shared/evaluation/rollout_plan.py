"""How many decisions a rollout takes: for a base reward, a lift and a share, by the bound that judges it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

from shared.evaluation.confidence_sequences import deviation
from shared.evaluation.rollout_verdict import PROMOTION_ALPHA, REWARD_ALPHA

POWER: Final = 0.95
# Beyond so many it is not worth waiting for.
MOST_DECISIONS: Final = 1e9


class HopelessError(ValueError):
    """No rollout of this kind would ever come to a verdict; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Matured decisions in all, and of them the version's, after which the verdict has come in 95 of 100 rollouts."""

    verdict: Literal["promoted", "rolled_back"]
    decisions: int
    of_version: int


def plan_rollout(
    base: float, lift: float, share: float, tolerance: float, variance: float | None = None, largest: float = 1.0
) -> Plan:
    """The number of decisions until a version that earns `base · (1 + lift)` is promoted, or rolled back.

    Args:
        base: mean reward of the champion.
        lift: relative; below 0 the verdict is a roll-back, else a promotion.
        share: of the decisions that the version makes, above 0 and below 1.
        tolerance: as in the loop's rollout settings.
        variance: of a reward; that of a reward which is 0 or `largest` where it is not given.
        largest: how far rewards lie apart at most.

    Raises:
        HopelessError: the lift is nothing that the verdict could rest on, or it takes too many decisions.
    """
    if variance is None:
        variance = base * (largest - base)
    if variance <= 0:
        raise HopelessError("rewards that never vary cannot be told apart: give a base between the least and the most")
    # How far the difference lies beyond what the verdict asks for.
    alpha = REWARD_ALPHA if lift < 0 else PROMOTION_ALPHA
    margin = abs(base * lift) if lift < 0 else base * lift + tolerance * abs(base)
    if margin <= 0:
        raise HopelessError("without a lift or a tolerance no verdict ever comes: raise `tolerance` above 0")
    # The third moment of a reward that is 0 or `largest`, as the sum has it where both arms earn alike. Wherever
    # rewards begin, it is no further from zero than `largest` times the variance.
    skew = min(largest, max(-largest, largest - 2 * base))
    third = (1 if lift >= 0 else -1) * variance * skew * (1 - 2 * share)
    count = _least_count(lambda decisions: _is_enough(decisions, margin, share, variance, third, alpha))
    if count is None:
        raise HopelessError("it takes more than a billion decisions: a larger share, lift or tolerance takes fewer")
    return Plan("rolled_back" if lift < 0 else "promoted", count, math.ceil(count * share))


def _is_enough(decisions: float, margin: float, share: float, variance: float, third: float, alpha: float) -> bool:
    information = decisions * share * (1 - share)
    bound = deviation(variance * information, variance, third * information, alpha) / information
    chance = NormalDist().inv_cdf(POWER) * math.sqrt(variance / information)
    return margin >= bound + chance


def _least_count(is_enough: Callable[[float], bool]) -> int | None:
    low, high = 1.0, 2.0
    while not is_enough(high):
        low, high = high, high * 2
        if high > MOST_DECISIONS:
            return None
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return math.ceil(high)
