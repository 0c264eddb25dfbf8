"""Too uncertain to choose: the product's own choice is given instead, and that is the distribution.

Shapes: B decisions, A candidates of the longest.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.db.statistics import Z_95
from shared.networks.policy import CandidateScores


def uncertain(scores: CandidateScores, allowed_BA: Tensor, baselines: Sequence[int | None], below: float) -> Tensor:
    """bool [B]: there is a baseline that may be drawn, and the best action's lower bound lies below `below`.

    The bound is the lower end of the 95 % interval of the expected reward: what is not known of it, without the noise
    of the outcome.
    """
    expected_BA = scores.expected_reward.masked_fill(~allowed_BA, -torch.inf)
    best_B1 = expected_BA.argmax(1, keepdim=True)
    deviation_B1 = scores.variance.gather(1, best_B1).clamp(min=0.0).sqrt()
    bound_B = (expected_BA.gather(1, best_B1) - Z_95 * deviation_B1)[:, 0]
    rows = enumerate(baselines)
    has_baseline_B = [baseline is not None and bool(allowed_BA[row, baseline]) for row, baseline in rows]
    return (bound_B < below) & torch.tensor(has_baseline_B, device=bound_B.device)


def give_baselines(probabilities_BA: Tensor, abstained_B: Tensor, baselines: Sequence[int | None]) -> Tensor:
    """The distributions, certain of the baseline in the rows that abstain."""
    given_BA = probabilities_BA.clone()
    for row in abstained_B.nonzero()[:, 0].tolist():
        given_BA[row] = 0.0
        given_BA[row, baselines[row]] = 1.0
    return given_BA
