"""Q-learning with a multimodal state (the book, section 1.5.2). The state reaches these functions as Q(s, ·).

Shapes: B batch, A actions.
"""

import math

from torch import Tensor
from torch.nn import functional

__all__ = ["q_learning_target", "q_learning_update"]


def q_learning_target(
    reward_B: Tensor, discount_B: Tensor, next_q_BA: Tensor, next_mask_BA: Tensor | None = None
) -> Tensor:
    """Target of Q-learning: r + γ max_a′ Q(s′, a′).

    Part of equation 3, section 1.5.2. No gradient is stopped here.

    Args:
        reward_B: r.
        discount_B: γ, 0 where the episode terminated.
        next_q_BA: Q(s′, ·), finite where allowed.
        next_mask_BA: True where an action is allowed in s′; None: all are. Masked values never matter, NaN included.

    Returns:
        [B]; a row with no next action has max = 0.
    """
    allowed_q_BA = next_q_BA if next_mask_BA is None else next_q_BA.masked_fill(~next_mask_BA, -math.inf)
    best_B = functional.pad(allowed_q_BA, (0, 1), value=-math.inf).amax(-1)
    return reward_B + discount_B * best_B.masked_fill(best_B == -math.inf, 0.0)


def q_learning_update(
    q_BA: Tensor,
    action_B: Tensor,
    reward_B: Tensor,
    discount_B: Tensor,
    next_q_BA: Tensor,
    learning_rate: float,
    next_mask_BA: Tensor | None = None,
) -> Tensor:
    """Q-learning update: Q(s, a) ← Q(s, a) + η (r + γ max_a′ Q(s′, a′) - Q(s, a)).

    Equation 3, section 1.5.2 (Watkins 1989).

    Args:
        q_BA: Q(s, ·).
        action_B: index of the action taken, int64.
        reward_B: r.
        discount_B: γ, 0 where the episode terminated.
        next_q_BA: Q(s′, ·).
        learning_rate: η in [0, 1].
        next_mask_BA: True where an action is allowed in s′; None: all are.

    Returns:
        Q [B, A], in which only the entries of the actions taken differ from q_BA.
    """
    target_B = q_learning_target(reward_B, discount_B, next_q_BA, next_mask_BA)
    taken_B1 = q_BA.gather(-1, action_B[:, None])
    return q_BA.scatter(-1, action_B[:, None], taken_B1 + learning_rate * (target_B[:, None] - taken_B1))
