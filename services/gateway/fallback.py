"""How a decision is made where no model version can make it, always with its true probability."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import numpy as np

from shared.domain import Doubles

# no_model_yet: the loop's first version is not there; model_unavailable: its versions cannot be reached;
# uncertain: the version gave the baseline action, since it is too uncertain of the best one.
# apprentice, logging_only: the loop's learning mode serves the baseline action; holdout: no version may decide; frozen:
# the loop is frozen to the baseline action.
FallbackReason = Literal[
    "no_model_yet", "model_unavailable", "uncertain", "apprentice", "logging_only", "holdout", "frozen"
]


def fall_back(reason: FallbackReason, allowed: Sequence[bool], baseline: int | None, seed: int) -> tuple[int, Doubles]:
    """The chosen position and the distribution [A] that it was drawn from.

    Uniform while a loop has no version, so that there is something to learn from; later the product's own baseline
    action where it gave one that is allowed, else uniform.
    """
    if reason == "model_unavailable" and baseline is not None and allowed[baseline]:
        return serve_baseline(allowed, baseline)
    probabilities = np.array(allowed, np.float64) / sum(allowed)
    return draw(probabilities.tolist(), seed), probabilities


def serve_baseline(allowed: Sequence[bool], baseline: int | None) -> tuple[int, Doubles]:
    """The product's own choice, with probability 1; the first allowed action where it gave none that is allowed."""
    position = baseline if baseline is not None and allowed[baseline] else allowed.index(True)
    probabilities = np.zeros(len(allowed))
    probabilities[position] = 1.0
    return position, probabilities


def draw(probabilities: Sequence[float], seed: int) -> int:
    """The draw that policy makes too (shared.functional.exploration.draw_action), without torch.

    u in [0, 1) comes from the seed's upper 53 bits; the position is the first whose sum of probabilities, added up from
    left to right, exceeds it, or the last of positive probability where rounding leaves u beyond the total.
    """
    uniform = (seed >> 11) / 2**53
    for position, cumulative in enumerate(accumulate(probabilities)):
        if cumulative > uniform:
            return position
    return max(position for position, probability in enumerate(probabilities) if probability > 0)
