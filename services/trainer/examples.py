"""What the networks regress: experiences of actions that an architecture knows, their slots, and standardised rewards.

Shapes: N rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.trainer.experiences import PreparedExperience
from shared.registry.manifest import Architecture


@dataclass(frozen=True, slots=True)
class Examples:
    """What the networks regress: experiences whose action they know, its slot, and standardised rewards."""

    experiences: Sequence[PreparedExperience]
    slots: Tensor  # int64 [N]
    rewards: Tensor  # float32 [N]
    # What a reward of 0 is when standardised.
    zero: float = 0.0

    def __len__(self) -> int:
        return len(self.experiences)


def examples_of(
    experiences: Sequence[PreparedExperience], architecture: Architecture, reward_range: tuple[float, float]
) -> Examples:
    """Leaves out experiences of actions that the architecture has no slot for."""
    slots = {action_id: slot for slot, action_id in enumerate(architecture.action_ids)}
    if architecture.action_features:
        known = [(experience, 0) for experience in experiences]
    else:
        known = [(one, slots[one.row.action_id]) for one in experiences if one.row.action_id in slots]
    low, high = reward_range
    rewards = [(experience.row.reward - low) / (high - low) for experience, _ in known]
    return Examples(
        [experience for experience, _ in known],
        torch.tensor([slot for _, slot in known], dtype=torch.int64),
        torch.tensor(rewards, dtype=torch.float32),
        zero=-low / (high - low),
    )
