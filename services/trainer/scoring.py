"""What a version would have done and expected on held-out experiences.

Shapes: N rows, A candidates of the longest; places beyond a row's own candidates are zero. Rewards are standardised.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from services.trainer.experiences import PreparedExperience, action_bag
from services.trainer.networks import Networks
from shared.domain import Action, Decision, Doubles
from shared.loop_settings import ExplorationSettings
from shared.networks.batches import collate, collate_bags
from shared.networks.online_head import HeadStatistics
from shared.networks.policy import Candidates, Policy, distribution
from shared.networks.preprocessing import Bag

# Bounds the memory at many candidates a decision.
CANDIDATES: Final = 8192
STANDARDISED: Final = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """An experience with what could have been chosen instead; `taken` is the position of what was."""

    experience: PreparedExperience
    actions: Sequence[Action]
    bags: Sequence[Bag]
    excluded: Sequence[int]
    taken: int
    probabilities: Doubles
    reward: float


@dataclass(frozen=True, slots=True)
class VersionScores:
    """A version's expected rewards and distribution [N, A]."""

    expected_rewards: Doubles
    probabilities: Doubles


def held_out_rows(
    experiences: Sequence[PreparedExperience], decisions: Mapping[str, Decision], reward_range: tuple[float, float]
) -> list[HeldOutRow]:
    """Leaves out what cannot be scored: an action that was no candidate, or features that cannot be read."""
    low, high = reward_range
    rows = []
    for experience in experiences:
        decision = decisions[experience.row.decision_id]
        ids = [action.id for action in decision.actions]
        bags = [bag for action in decision.actions if (bag := action_bag(action)) is not None]
        if experience.row.action_id in ids and len(bags) == len(ids):
            excluded = [ids.index(action_id) for action_id in decision.excluded_action_ids if action_id in ids]
            taken, reward = ids.index(experience.row.action_id), (experience.row.reward - low) / (high - low)
            rows.append(HeldOutRow(experience, decision.actions, bags, excluded, taken, decision.probabilities, reward))
    return rows


def score(
    networks: Networks,
    statistics: HeadStatistics,
    rows: Sequence[HeldOutRow],
    exploration: ExplorationSettings,
    keep_lease: Callable[[], None],
) -> VersionScores:
    """Under the version's weights and these head statistics."""
    policy = Policy(networks.architecture, networks.q_network, statistics)
    width = max(len(row.actions) for row in rows)
    expected, probabilities = np.zeros((2, len(rows), width))
    start = 0
    for chunk in _chunks(rows):
        keep_lease()
        candidates = Candidates.of([[one.id for one in row.actions] for row in chunk], [row.excluded for row in chunk])
        with torch.inference_mode():
            states_BS = networks.states(
                collate([row.experience.features for row in chunk], list(networks.architecture.modalities))
            )
            embeddings_ND = None
            if networks.architecture.action_features:
                embeddings_ND = networks.encoder.encode_actions(
                    collate_bags([bag for row in chunk for bag in row.bags])
                )
            scores = policy.score(states_BS, candidates, embeddings_ND)
            drawn_BA = distribution(scores, candidates.allowed, exploration, STANDARDISED)
        place = slice(start, start + len(chunk)), slice(0, candidates.present.shape[1])
        expected[place], probabilities[place] = scores.expected_reward.numpy(), drawn_BA.numpy()
        start += len(chunk)
    return VersionScores(expected, probabilities)


def progressive_loss(scores: VersionScores, rows: Sequence[HeldOutRow]) -> float:
    """Mean squared error of the expected rewards of what was taken."""
    taken = np.array([row.taken for row in rows])
    expected = np.take_along_axis(scores.expected_rewards, taken[:, None], axis=1)[:, 0]
    return float(np.mean((expected - np.array([row.reward for row in rows])) ** 2))


def _chunks(rows: Sequence[HeldOutRow]) -> Iterator[Sequence[HeldOutRow]]:
    chunk: list[HeldOutRow] = []
    for row in rows:
        if chunk and sum(len(one.actions) for one in chunk) + len(row.actions) > CANDIDATES:
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk
