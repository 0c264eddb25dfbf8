"""What Q-learning adds to rewards: the values of what followed, by networks that stand still while others learn.

Values are of standardised rewards, Q = (value - low) / (high - low), so that nothing at all is worth `zero`, not 0.

Shapes: N rows, M of them followed by something, A next candidates of the longest row, K slots.
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
    """Q(s′, ·) [N, A] with what may be chosen there, bool [N, A]: nothing where nothing followed."""
    known = [row for row, state in enumerate(following) if state is not None]
    states = [state for state in following if state is not None]
    if not states:
        return torch.zeros(len(following), 1), torch.zeros(len(following), 1, dtype=torch.bool)
    with torch.no_grad():
        estimate = _over_features if networks.architecture.action_features else _over_slots
        q_MA, mask_MA = estimate(networks, states)
    q_NA = q_MA.new_zeros(len(following), q_MA.shape[1]).index_copy(0, torch.tensor(known), q_MA)
    mask_NA = torch.zeros(q_NA.shape, dtype=torch.bool).index_copy(0, torch.tensor(known), mask_MA)
    return q_NA, mask_NA


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


def _over_slots(networks: Networks, states: Sequence[NextState]) -> tuple[Tensor, Tensor]:
    architecture = networks.architecture
    slots = {action_id: slot for slot, action_id in enumerate(architecture.action_ids)}
    batch = collate([state.features for state in states], list(architecture.modalities))
    q_MK = networks.estimates(batch, None).mean
    allowed = [[action_id in state.action_ids for action_id in slots] for state in states]
    return q_MK, torch.tensor(allowed)


def _over_features(networks: Networks, states: Sequence[NextState]) -> tuple[Tensor, Tensor]:
    batch = collate([state.features for state in states], list(networks.architecture.modalities))
    counts_M = torch.tensor([len(state.actions) for state in states])
    embeddings = networks.encoder.encode_actions(collate_bags([bag for state in states for bag in state.actions]))
    inputs = torch.cat([networks.states(batch).repeat_interleave(counts_M, dim=0), embeddings], dim=1)
    mask_MA = torch.arange(int(counts_M.max())) < counts_M[:, None]
    q_MA = torch.zeros(mask_MA.shape).masked_scatter(mask_MA, networks.q_network(inputs).mean[:, 0])
    return q_MA, mask_MA
