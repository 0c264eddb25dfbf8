"""Losses of the Q-network (the book, sections 5.1.2 and 5.2.2).

Shapes: B batch.
"""

from torch import Tensor

__all__ = ["aleatoric_loss", "reward_guided_loss"]


def reward_guided_loss(log_probabilities_B: Tensor, rewards_B: Tensor) -> Tensor:
    """Reward-guided loss: -E[R log f_θ(s)].

    Equation 14, section 5.1.2 (Williams 1992). Importance weights and a baseline are composed outside, into R.

    Args:
        log_probabilities_B: log f_θ(s) of the action taken.
        rewards_B: R.

    Returns:
        A scalar.
    """
    return -(rewards_B * log_probabilities_B).mean()


def aleatoric_loss(prediction_B: Tensor, target_B: Tensor, log_variance_B: Tensor) -> Tensor:
    """Loss that learns the aleatoric uncertainty: mean of (y - ŷ)² / (2 σ²) + ½ log σ².

    Equation 15, section 5.2.2 (Kendall and Gal 2017).

    Args:
        prediction_B: ŷ.
        target_B: y.
        log_variance_B: log σ², which needs no constraint to keep σ² positive.

    Returns:
        A scalar.
    """
    return 0.5 * ((target_B - prediction_B).square() * (-log_variance_B).exp() + log_variance_B).mean()
