"""The policy of one model version: scores of candidates, and the distribution that exploration makes of them.

Serving draws from it, and evaluation asks it what it would have done. All of it is float64.
Shapes: B decisions, A candidates of the longest, N candidates in all, S state, E encoded action.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import torch
from torch import Tensor

from shared.functional.exploration import (
    boltzmann_probabilities,
    epsilon_greedy_probabilities,
    square_cb_probabilities,
    thompson_probabilities,
    upper_confidence_probabilities,
    with_floor,
)
from shared.loop_settings import ExplorationSettings
from shared.networks.online_head import HeadStatistics, Posterior, posterior
from shared.networks.placement import CPU, moved
from shared.networks.q_network import QNetwork
from shared.registry.manifest import Architecture


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of B decisions: their ids row after row, bool [B, A] where a row has one, and where it is allowed."""

    action_ids: Sequence[str]
    present: Tensor
    allowed: Tensor

    @classmethod
    def of(cls, action_ids: Sequence[Sequence[str]], excluded: Sequence[Sequence[int]]) -> Self:
        """From each row's ids and the positions in it that may not be drawn.

        Raises:
            ValueError: there is no row, a position is outside its row, or a row has nothing left to draw.
        """
        if not action_ids:
            raise ValueError("there are no rows of candidates")
        counts_B1 = torch.tensor([[len(ids)] for ids in action_ids])
        present = torch.arange(int(counts_B1.max())) < counts_B1
        allowed = present.clone()
        for row, positions in enumerate(excluded):
            if any(not 0 <= position < len(action_ids[row]) for position in positions):
                raise ValueError(f"an excluded position lies outside of row {row}")
            if positions:
                allowed[row, list(positions)] = False
        if not bool(allowed.any(1).all()):
            raise ValueError("a row has no action that may be drawn")
        return cls(list(chain.from_iterable(action_ids)), present, allowed)

    def to(self, device: torch.device) -> Self:
        """These, on a device."""
        return type(self)(self.action_ids, moved(self.present, device), moved(self.allowed, device))


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """float64 [B, A] each, meaningless where a row has no candidate: Q, and variances in the square of its unit.

    `variance` is epistemic, of the expected reward; `outcome_variance` adds the aleatoric one. Where the version has
    learned a policy itself, `policy_logits` are those of its softmax, else None.
    """

    expected_reward: Tensor
    variance: Tensor
    outcome_variance: Tensor
    policy_logits: Tensor | None = None

    def in_range(self, low: float, high: float) -> Self:
        """Standardised scores in the unit of rewards of this range."""
        scale = high - low
        return type(self)(
            low + scale * self.expected_reward,
            scale**2 * self.variance,
            scale**2 * self.outcome_variance,
            self.policy_logits,
        )


class Policy:
    """Q-network and head of a version, on one device; its scores are of standardised rewards."""

    def __init__(
        self,
        architecture: Architecture,
        q_network: QNetwork,
        statistics: HeadStatistics,
        device: torch.device = CPU,
    ) -> None:
        self.architecture = architecture
        self.device = device
        self._slots = {action_id: slot for slot, action_id in enumerate(architecture.action_ids)}
        # float64, so that a state gives the same scores whatever else is in its batch.
        self._q_network = copy.deepcopy(q_network).to(device).double().eval().requires_grad_(False)
        # Its sums stay on the CPU, where they are added up in order.
        self._prior_mean = q_network.prior_mean()
        self._statistics = statistics
        self._posterior = self._belief(statistics)

    def learned(
        self,
        states_NS: Tensor,
        action_ids: Sequence[str],
        action_embeddings_NE: Tensor | None,
        rewards_N: Tensor,
        decided_at_N: Tensor,
        previous_N: Tensor | None = None,
    ) -> Self:
        """The policy after N more experiences, with standardised rewards and the times of their decisions, int64.

        This one stays as it is.

        An action without a slot of its own teaches nothing, unless all actions share one. With `previous_N` they are
        experiences that it has learned, with rewards in place of the previous ones.
        """
        inputs_NI, known_N, slots_N = states_NS, list(range(len(action_ids))), [0] * len(action_ids)
        if self.architecture.action_features:
            assert action_embeddings_NE is not None
            inputs_NI = torch.cat([states_NS, action_embeddings_NE], dim=1)
        else:
            known_N = [row for row, action_id in enumerate(action_ids) if action_id in self._slots]
            slots_N = [self._slots[action_ids[row]] for row in known_N]
        q_values = self._q_network(moved(inputs_NI[known_N].double(), self.device)).on_cpu()
        after = copy.copy(self)
        slots = torch.tensor(slots_N, dtype=torch.int64)
        weights_N = self._q_network.weights(q_values.log_variance, slots)
        of = q_values.features, slots, rewards_N[known_N]
        if previous_N is None:
            after._statistics = self._statistics.add(*of, weights_N, decided_at_N[known_N])
        else:
            after._statistics = self._statistics.correct(*of, previous_N[known_N], weights_N, decided_at_N[known_N])
        after._posterior = self._belief(after._statistics)
        return after

    def _belief(self, statistics: HeadStatistics) -> Posterior:
        belief = posterior(statistics, self._prior_mean)
        return (belief.of_all() if self.architecture.action_features else belief).to(self.device)

    def score(self, states_BS: Tensor, candidates: Candidates, action_embeddings_NE: Tensor | None) -> CandidateScores:
        """Scores of every candidate, on the policy's device, where the candidates are too; embeddings of actions where
        the architecture has them, else None."""
        states_BS = moved(states_BS, self.device)
        if self.architecture.action_features:
            assert action_embeddings_NE is not None
            columns = self._score_features(states_BS, candidates, moved(action_embeddings_NE, self.device))
        else:
            columns = self._score_slots(states_BS, candidates)
        empty_BA = torch.zeros(candidates.present.shape, dtype=torch.float64, device=self.device)
        return CandidateScores(*(empty_BA.masked_scatter(candidates.present, column_N) for column_N in columns))

    def _score_slots(self, states_BS: Tensor, candidates: Candidates) -> list[Tensor]:
        """In the order of CandidateScores, [N] each."""
        q_values = self._q_network(states_BS.double())
        mean_BK, variance_BK = self._posterior.scores(q_values.features)
        columns = [mean_BK, variance_BK, variance_BK + _with_unknown(q_values.log_variance.exp())]
        if q_values.policy_logits is not None:
            columns.append(_with_unknown(q_values.policy_logits))
        unknown = len(self._slots)
        slots = [self._slots.get(action_id, unknown) for action_id in candidates.action_ids]
        slots_N = moved(torch.tensor(slots), self.device)
        rows_N = candidates.present.nonzero()[:, 0]
        return [column_BK[rows_N, slots_N] for column_BK in columns]

    def _score_features(self, states_BS: Tensor, candidates: Candidates, action_embeddings_NE: Tensor) -> list[Tensor]:
        rows_N = candidates.present.nonzero()[:, 0]
        inputs_NI = torch.cat([states_BS.double()[rows_N], action_embeddings_NE.double()], dim=1)
        q_values = self._q_network(inputs_NI)
        mean_NK, variance_NK = self._posterior.scores(q_values.features)
        return [mean_NK[:, 0], variance_NK[:, 0], variance_NK[:, 0] + q_values.log_variance[:, 0].exp()]


def _with_unknown(values_BK: Tensor) -> Tensor:
    """[B, K + 1]: behind the slots' values their mean, for an action without a slot."""
    return torch.cat([values_BK, values_BK.mean(1, keepdim=True)], dim=1)


def distribution(
    scores: CandidateScores, allowed_BA: Tensor, exploration: ExplorationSettings, reward_range: tuple[float, float]
) -> Tensor:
    """Probabilities of the candidates, float64 [B, A]: 0 where not allowed, at least the floor's share elsewhere.

    Scores are standardised by the reward's range, so that rewards a thousand times larger, and the range with them,
    give the same distribution. Where the version has learned a policy itself, that is the distribution, with the floor.
    """
    if scores.policy_logits is not None:
        return with_floor(boltzmann_probabilities(scores.policy_logits, 1.0, allowed_BA), exploration.floor, allowed_BA)
    low, high = reward_range
    q_BA, variance_BA = (scores.expected_reward - low) / (high - low), scores.variance / (high - low) ** 2
    match exploration.strategy:
        case "thompson":
            probabilities_BA = thompson_probabilities(q_BA, exploration.scale**2 * variance_BA, allowed_BA)
        case "ucb":
            probabilities_BA = upper_confidence_probabilities(q_BA, variance_BA, exploration.scale, allowed_BA)
        case "squarecb":
            probabilities_BA = square_cb_probabilities(q_BA, exploration.gamma, allowed_BA)
        case "epsilon_greedy":
            probabilities_BA = epsilon_greedy_probabilities(q_BA, exploration.epsilon, allowed_BA)
        case "boltzmann":
            probabilities_BA = boltzmann_probabilities(q_BA, exploration.temperature, allowed_BA)
    return with_floor(probabilities_BA, exploration.floor, allowed_BA)
