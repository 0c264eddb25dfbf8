"""Fitted Q iteration: what the head of a version of Q-learning regresses on.

Through the few hundred steps of a fine-tune a reward travels back only a little way, so that the network's own values
lie too low. The head is linear, and can be solved: its features stand still, and r + γ max_a′ Q(s′, a′) is regressed
on again and again by the Q that the last regression found, from the network's values on (Ernst, Geurts and Wehenkel
2005, Tree-Based Batch Mode Reinforcement Learning).

Shapes: N examples, M of them followed by something, A next candidates, P of them in all, F features, K slots.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from services.trainer.bootstrapping import among, by_candidate, next_inputs, targets
from services.trainer.examples import Examples
from services.trainer.heads import features_of, q_network_of
from services.trainer.networks import Networks
from shared.functional.value_learning import q_learning_target
from shared.networks.online_head import HeadStatistics, posterior, with_constant
from shared.networks.parts import empty_statistics

ROWS: Final = 256
SWEEPS: Final = 500
TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class _Next:
    """What followed the examples: which were followed int64 [M], features with the constant [P, F], bool [M, A]."""

    place_M: Tensor
    phi_PF: Tensor
    mask_MA: Tensor

    def values(self, mean_KF: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Q(s′, ·) [N, A] of the head with this mean, and what may be chosen there."""
        q_MA = by_candidate(self.phi_PF @ mean_KF.mT, self.mask_MA)
        return among(self.place_M, count, q_MA, self.mask_MA)


def fitted_targets(networks: Networks, examples: Examples, discount: float, keep_lease: Callable[[], None]) -> Tensor:
    """r + γ max_a′ Q(s′, a′) [N] of standardised rewards by the head itself, once that changes no more."""
    if not len(examples):
        return examples.rewards
    targets_N = targets(networks, examples.experiences, examples.rewards, examples.zero, discount, keep_lease)
    phi_NF = with_constant(features_of(networks, examples.experiences, keep_lease))
    after = _next(networks, examples, keep_lease)
    weights_N = torch.ones(len(examples))
    statistics = empty_statistics(networks.architecture).add(phi_NF[:, :-1], examples.slots, targets_N, weights_N)
    for _ in range(SWEEPS):
        keep_lease()
        moment_KF = torch.zeros_like(statistics.moment)
        moment_KF = moment_KF.index_add(0, examples.slots, phi_NF * targets_N[:, None].double())
        found_N = _targets(networks, replace(statistics, moment=moment_KF), examples, after, discount)
        change, targets_N = float((found_N - targets_N).abs().max()), found_N
        if change < TOLERANCE:
            break
    return targets_N


def head_targets(
    networks: Networks,
    statistics: HeadStatistics,
    examples: Examples,
    discount: float,
    keep_lease: Callable[[], None],
) -> Tensor:
    """r + γ max_a′ Q(s′, a′) [N] of standardised rewards by a head with these statistics."""
    return _targets(networks, statistics, examples, _next(networks, examples, keep_lease), discount)


def _targets(
    networks: Networks, statistics: HeadStatistics, examples: Examples, after: _Next, discount: float
) -> Tensor:
    """Values stay within what rewards of this size can add up to, so that an iteration cannot diverge."""
    rewards_N = examples.rewards.double()
    bound = float((rewards_N - examples.zero).abs().max()) / (1 - discount)
    q_NA, mask_NA = after.values(posterior(statistics, networks.q_network.prior_mean()).mean[:-1], len(examples))
    gain_NA = (q_NA - examples.zero).clamp(-bound, bound)
    return q_learning_target(rewards_N, torch.full_like(rewards_N, discount), gain_NA, mask_NA).float()


def _next(networks: Networks, examples: Examples, keep_lease: Callable[[], None]) -> _Next:
    following = [one.following for one in examples.experiences]
    known_M = [row for row, state in enumerate(following) if state is not None]
    states = [state for state in following if state is not None]
    q_network, width = q_network_of(networks), networks.architecture.head_width + 1
    parts, masks = [torch.zeros(0, width, dtype=torch.float64)], [torch.zeros(0, 1, dtype=torch.bool)]
    for start in range(0, len(states), ROWS):
        keep_lease()
        with torch.no_grad():
            inputs_PI, mask_MA = next_inputs(networks, states[start : start + ROWS])
            parts.append(with_constant(q_network(inputs_PI.double()).features))
        masks.append(mask_MA)
    widest = max(mask.shape[1] for mask in masks)
    padded = [torch.nn.functional.pad(mask, (0, widest - mask.shape[1])) for mask in masks]
    return _Next(torch.tensor(known_M, dtype=torch.int64), torch.cat(parts), torch.cat(padded))
