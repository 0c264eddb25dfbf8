"""States and candidates to scores, distributions and drawn actions, under one model version.

Shapes: B decisions, A candidates of the longest, N candidates in all, S state, D embedding of an action.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from services.policy.abstaining import give_baselines, uncertain
from shared.functional.exploration import draw_action
from shared.loop_settings import ExplorationSettings
from shared.networks.parts import load_policy
from shared.networks.placement import ON_CPU, Placement
from shared.networks.policy import Candidates, Policy, distribution
from shared.registry.manifest import Architecture
from shared.wire import WireError

# A seed's highest 53 bits are as many as a float64 below 1 can tell apart.
SEED_SHIFT: Final = 11
UNIT: Final = 2.0**-53


@dataclass(frozen=True, slots=True)
class Drawn:
    """int64 [B] positions of the drawn actions, bool [B] whether a row's baseline was given for want of certainty;
    float64 [N] each of all candidates, row after row; logits where the version has learned a policy itself."""

    position: Tensor
    abstained: Tensor
    probabilities: Tensor
    expected_rewards: Tensor
    variances: Tensor
    outcome_variances: Tensor
    policy_logits: Tensor | None = None


def load_version_policy(architecture: Architecture, data: bytes, placement: Placement = ON_CPU) -> Policy:
    """The policy of a version from its file of weights and head statistics.

    Raises:
        WeightsError: it is not servable.
    """
    return Policy(architecture, *load_policy(architecture, data), device=placement.device)


def decide(
    policy: Policy,
    learned_range: tuple[float, float],
    states_BS: Tensor,
    candidates: Candidates,
    action_embeddings_ND: Tensor | None,
    exploration: ExplorationSettings,
    reward_range: tuple[float, float],
    seeds: Sequence[int],
    baselines: Sequence[int | None],
) -> Drawn:
    """Scores every candidate, and draws an action of each row from the distribution that it returns.

    Scores are in the unit of the rewards of `learned_range`, which the version learned from; `reward_range` is what
    exploration standardises them by, and may have changed since.

    `baselines` holds a position a row, or None; one that abstains by the exploration settings is given its own.

    Raises:
        WireError: shapes that are not the version's.
    """
    _hold_shapes(policy, states_BS, candidates, action_embeddings_ND, seeds)
    _hold_positions(baselines, candidates)
    candidates = candidates.to(policy.device)
    with torch.inference_mode():
        standardised = policy.score(states_BS, candidates, action_embeddings_ND)
        scores = standardised.in_range(*learned_range)
        probabilities_BA = distribution(scores, candidates.allowed, exploration, reward_range)
        abstained_B = torch.zeros(len(baselines), dtype=torch.bool, device=policy.device)
        if exploration.abstain_below is not None:
            abstained_B = uncertain(scores, candidates.allowed, baselines, exploration.abstain_below)
            probabilities_BA = give_baselines(probabilities_BA, abstained_B, baselines)
        uniform_B = torch.tensor([(seed >> SEED_SHIFT) * UNIT for seed in seeds], dtype=torch.float64)
        position_B = draw_action(probabilities_BA, uniform_B)
    columns = [probabilities_BA, scores.expected_reward, scores.variance, scores.outcome_variance]
    if scores.policy_logits is not None:
        columns.append(scores.policy_logits)
    return Drawn(position_B.cpu(), abstained_B.cpu(), *(column_BA[candidates.present].cpu() for column_BA in columns))


def _hold_positions(baselines: Sequence[int | None], candidates: Candidates) -> None:
    counts = candidates.present.sum(1).tolist()
    if len(baselines) != len(counts):
        raise WireError(f"there are {len(baselines)} baselines and {len(counts)} rows")
    if any(one is not None and not 0 <= one < count for one, count in zip(baselines, counts, strict=True)):
        raise WireError("a baseline lies outside of its row")


def _hold_shapes(
    policy: Policy, states_BS: Tensor, candidates: Candidates, actions_ND: Tensor | None, seeds: Sequence[int]
) -> None:
    architecture = policy.architecture
    expected = (len(candidates.present), architecture.state_width)
    if tuple(states_BS.shape) != expected or len(seeds) != expected[0]:
        raise WireError(f"states are {list(states_BS.shape)} with {len(seeds)} seeds, expected {list(expected)}")
    hold_actions(policy, len(candidates.action_ids), actions_ND)


def hold_actions(policy: Policy, count: int, actions_ND: Tensor | None) -> None:
    """There are as many encoded actions as candidates, where the version reads their features.

    Raises:
        WireError: there are not.
    """
    architecture = policy.architecture
    wanted = (count, architecture.encoded_width) if architecture.action_features else None
    found = None if actions_ND is None else tuple(actions_ND.shape)
    if found != wanted:
        raise WireError(f"action embeddings are {found}, expected {wanted}")
