"""What Q-learning adds to rewards: the values of what followed, by networks that stand still while others learn.

Values are of standardised rewards, Q = (value - low) / (high - low), so that nothing at all is worth `zero`, not 0.

Shapes: N rows, M of them followed by something, A next candidates of the longest row, P candidates in all, K slots.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from services.trainer.experiences import NextState, PreparedExperience
from services.trainer.networks import Networks
from shared.functional.value_learning import q_learning_target
from shared.networks.batches import collate, collate_bags

ROWS: Final = 256


def next_values(networks: Networks, following: Sequence[NextState | None]) -> tuple[Tensor, Tensor]:
    """Q(s′, ·) [N, A] with what may be chosen there, bool [N, A], on the CPU: nothing where nothing followed."""
    known_M = [row for row, state in enumerate(following) if state is not None]
    states = [state for state in following if state is not None]
    if not states:
        return torch.zeros(len(following), 1), torch.zeros(len(following), 1, dtype=torch.bool)
    with torch.no_grad():
        inputs_PI, mask_MA = next_inputs(networks, states)
        q_MA = by_candidate(networks.q_network(inputs_PI).mean.cpu(), mask_MA)
    return among(torch.tensor(known_M), len(following), q_MA, mask_MA)


def targets(
    networks: Networks,
    experiences: Sequence[PreparedExperience],
    rewards_N: Tensor,
    zero: float,
    discount: float,
    keep_lease: Callable[[], None],
) -> Tensor:
    """r + γ max_a′ Q(s′, a′) [N] of standardised rewards, by the networks as they are."""
    found = [rewards_N[:0]]
    for start in range(0, len(experiences), ROWS):
        keep_lease()
        rows = slice(start, start + ROWS)
        next_q_NA, mask_NA = next_values(networks, [one.following for one in experiences[rows]])
        rewards = rewards_N[rows]
        found.append(q_learning_target(rewards, torch.full_like(rewards, discount), next_q_NA - zero, mask_NA))
    return torch.cat(found)


def next_inputs(networks: Networks, states: Sequence[NextState]) -> tuple[Tensor, Tensor]:
    """What the Q-network reads of next states [P, I], and what may be chosen there, bool [M, A].

    P is M, and A the slots; where all actions share one slot, P is each state's candidates one after the other.
    """
    architecture = networks.architecture
    states_MS = networks.states(collate([state.features for state in states], list(architecture.modalities)))
    if not architecture.action_features:
        allowed = [[action_id in state.action_ids for action_id in architecture.action_ids] for state in states]
        return states_MS, torch.tensor(allowed)
    counts_M = torch.tensor([len(state.actions) for state in states])
    bags = collate_bags([bag for state in states for bag in state.actions])
    encoded_PE = networks.encoder.encode_actions(bags.to(networks.device))
    inputs_PI = torch.cat([states_MS.repeat_interleave(counts_M.to(networks.device), dim=0), encoded_PE], dim=1)
    return inputs_PI, torch.arange(int(counts_M.max())) < counts_M[:, None]


def among(place_M: Tensor, count: int, q_MA: Tensor, mask_MA: Tensor) -> tuple[Tensor, Tensor]:
    """Values and mask [N, A] of so many rows from those of the rows that are followed; nothing in the others."""
    q_NA = q_MA.new_zeros(count, q_MA.shape[1]).index_copy(0, place_M, q_MA)
    return q_NA, torch.zeros(q_NA.shape, dtype=torch.bool).index_copy(0, place_M, mask_MA)


def by_candidate(values_PK: Tensor, mask_MA: Tensor) -> Tensor:
    """Values [M, A] of the next states' candidates from those of `next_inputs`; meaningless where the mask is False."""
    if values_PK.shape == mask_MA.shape:
        return values_PK
    return values_PK.new_zeros(mask_MA.shape).masked_scatter(mask_MA, values_PK[:, 0])
