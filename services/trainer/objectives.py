"""What a fine-tune minimises: one function an objective, from what the networks estimate of a minibatch to its loss.

Shapes: B rows of a minibatch, K slots (one an action, or one that all actions share).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from services.trainer.bootstrapping import next_values
from services.trainer.examples import Examples
from services.trainer.networks import Networks
from shared.functional.losses import aleatoric_loss, reward_guided_loss
from shared.functional.value_learning import q_learning_update
from shared.loop_settings import LearningSettings
from shared.networks.q_network import QValues

# η of equation 3. All of the way to the target: the optimiser's own rate takes the small steps.
WHOLE_STEP: Final = 1.0
# c: what one experience counts at most, however rarely its action was drawn; bounds the variance of the gradient.
MOST_WEIGHT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Minibatch:
    """B of the examples by their indices, int64 [B], and what the learning networks estimate of them, [B, K] each."""

    examples: Examples
    chosen_B: Tensor
    values: QValues

    @property
    def slots_B1(self) -> Tensor:
        return self.examples.slots[self.chosen_B][:, None]

    @property
    def rewards_B(self) -> Tensor:
        return self.examples.rewards[self.chosen_B]


class Loss(NamedTuple):
    """Scalars: what is minimised, and the part of it that a run reports."""

    total: Tensor
    error: Tensor


Objective = Callable[[Minibatch], Loss]


def objective_of(learning: LearningSettings, networks: Networks, champion: Networks) -> Objective:
    """The objective that the settings name, for networks that learn on from the champion."""
    match learning.objective:
        case "reward_regression":
            return reward_regression
        case "q_learning":
            return QLearning(learning, networks, champion)
        case "reward_guided":
            return reward_guided


def reward_regression(batch: Minibatch) -> Loss:
    """Squared error of the taken actions' means against their rewards, and the loss of their variances."""
    return regression(batch, batch.rewards_B)


def reward_guided(batch: Minibatch) -> Loss:
    """Equation 14, fed with w (r - b), beside the regression that expected rewards and intervals rest on.

    w = min(c, π_θ(a|x) / p), without gradient, corrects for p, the logged probability; b is the mean reward. An action
    that was not drawn has no such probability, and guides nothing.
    """
    assert batch.values.policy_logits is not None
    log_policy_B = batch.values.policy_logits.log_softmax(1).gather(1, batch.slots_B1)[:, 0]
    logged = [batch.examples.experiences[index].row.probability for index in batch.chosen_B.tolist()]
    inverse_B = torch.tensor([1.0 / probability if probability else 0.0 for probability in logged])
    weight_B = (log_policy_B.detach().exp() * inverse_B).clamp(max=MOST_WEIGHT)
    regressed = reward_regression(batch)
    advantage_B = batch.rewards_B - batch.examples.rewards.mean()
    return Loss(regressed.total + reward_guided_loss(log_policy_B, weight_B * advantage_B), regressed.error)


class QLearning:
    """Q-learning with a target network: the champion first, then the networks that learn, as they were lately."""

    def __init__(self, learning: LearningSettings, networks: Networks, champion: Networks) -> None:
        self._learning = learning
        self._networks = networks
        self._target = champion.learning().frozen()
        self._steps = 0

    def __call__(self, batch: Minibatch) -> Loss:
        """Of the next step."""
        if self._steps and self._steps % self._learning.target_update_steps == 0:
            self._target = self._networks.learning().frozen()
        self._steps += 1
        chooser = self._networks if self._learning.double_q else None
        return q_learning(batch, self._learning.discount, self._target, chooser)


def q_learning(batch: Minibatch, discount: float, target: Networks, chooser: Networks | None) -> Loss:
    """Regression on equation 3's Q, with the next actions' values by the target network.

    Where there is a chooser, it picks the next action that the target rates: double Q-learning (van Hasselt, Guez and
    Silver 2016, Deep Reinforcement Learning with Double Q-learning).
    """
    following = [batch.examples.experiences[index].following for index in batch.chosen_B.tolist()]
    next_q_BA, mask_BA = next_values(target, following)
    if chooser is not None:
        with chooser.at_rest():
            chosen_q_BA, _ = next_values(chooser, following)
        best_B1 = chosen_q_BA.masked_fill(~mask_BA, -torch.inf).argmax(1, keepdim=True)
        mask_BA = mask_BA & torch.zeros_like(mask_BA).scatter(1, best_B1, True)
    discount_B = torch.full_like(batch.rewards_B, discount)
    # From the value of nothing on: where nothing follows, q_learning_update counts 0.
    next_q_BA = next_q_BA - batch.examples.zero
    q_BK, slots_B = batch.values.mean.detach(), batch.slots_B1[:, 0]
    updated_BK = q_learning_update(q_BK, slots_B, batch.rewards_B, discount_B, next_q_BA, WHOLE_STEP, mask_BA)
    return regression(batch, updated_BK.gather(1, batch.slots_B1)[:, 0])


def regression(batch: Minibatch, targets_B: Tensor) -> Loss:
    """Squared error of the taken actions' means against targets, and the loss of their variances."""
    mean_B = batch.values.mean.gather(1, batch.slots_B1)[:, 0]
    log_variance_B = batch.values.log_variance.gather(1, batch.slots_B1)[:, 0]
    error = (mean_B - targets_B).square().mean()
    return Loss(error + aleatoric_loss(mean_B.detach(), targets_B, log_variance_B), error)
