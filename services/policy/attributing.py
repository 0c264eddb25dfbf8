"""How the estimate of an action answers to the state that it was made of: where an explanation begins.

Shapes: B decisions, S state, E encoded action.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from services.policy.deciding import hold_actions
from shared.networks.policy import Candidates, Policy
from shared.wire import WireError


def state_gradients(
    policy: Policy, states_BS: Tensor, action_ids: Sequence[str], action_embeddings_BE: Tensor | None
) -> Tensor:
    """∂L/∂H [B, S] of L = -Q(s, a), one action a row; Q is the served one, of standardised rewards.

    Raises:
        WireError: shapes that are not the version's.
    """
    expected = (len(action_ids), policy.architecture.state_width)
    if tuple(states_BS.shape) != expected:
        raise WireError(f"states are {list(states_BS.shape)}, expected {list(expected)}")
    hold_actions(policy, len(action_ids), action_embeddings_BE)
    states_BS = states_BS.requires_grad_()
    candidates = Candidates.of([[action_id] for action_id in action_ids], [[] for _ in action_ids]).to(policy.device)
    loss = -policy.score(states_BS, candidates, action_embeddings_BE).expected_reward.sum()
    (gradients_BS,) = torch.autograd.grad(loss, states_BS)
    return gradients_BS
