"""What a fine-tune looks at how often: newer experiences, and those whose action was drawn against the odds, more.

Examples are drawn anew in proportion to their weights, so that objectives need not know of weights.

Shapes: N examples.
"""

from dataclasses import replace

import torch
from torch import Tensor

from services.trainer.examples import Examples
from shared.loop_settings import LearningSettings


def replay_weights(examples: Examples, learning: LearningSettings) -> Tensor:
    """How often each example is to be looked at, float64 [N] of mean one; examples stand oldest first.

    Inverse propensities make the replay as even over actions as if they had been drawn evenly; they are clipped, since
    a rare draw would else count as much as all others together. Without a propensity the draw is taken for certain.
    """
    age_N = torch.arange(len(examples), dtype=torch.float64).flip(0)
    weights_N = torch.ones_like(age_N)
    if learning.replay_half_life is not None:
        weights_N = torch.exp2(-age_N / learning.replay_half_life)
    propensities = [one.row.probability or 1.0 for one in examples.experiences]
    inverse_N = 1.0 / torch.tensor(propensities, dtype=torch.float64)
    weights_N = weights_N * inverse_N.clamp(max=learning.propensity_limit)
    return weights_N / weights_N.mean()


def replayed(examples: Examples, learning: LearningSettings) -> Examples:
    """As many examples, in their order, each about as often as it weighs; all once where they weigh alike.

    Systematic sampling: of two draws from the same weights none is luckier (Kitagawa 1996, Monte Carlo Filter and
    Smoother).
    """
    weights_N = replay_weights(examples, learning)
    middle_N = torch.arange(len(examples), dtype=torch.float64) + 0.5
    index_N = torch.searchsorted(weights_N.cumsum(0), middle_N).clamp(max=len(examples) - 1)
    return replace(
        examples,
        experiences=[examples.experiences[index] for index in index_N.tolist()],
        slots=examples.slots[index_N],
        rewards=examples.rewards[index_N],
    )
