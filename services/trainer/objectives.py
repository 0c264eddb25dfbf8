"""What a fine-tune minimises: one function an objective, from what the networks estimate of a minibatch to its loss.

Shapes: B rows of a minibatch, K slots (one an action, or one that all actions share).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from services.trainer.examples import Examples
from shared.functional.losses import aleatoric_loss
from shared.loop_settings import LearningSettings
from shared.networks.q_network import QValues


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


def objective_of(learning: LearningSettings) -> Objective:
    """The objective that the settings name."""
    match learning.objective:
        case "reward_regression":
            return reward_regression


def reward_regression(batch: Minibatch) -> Loss:
    """Squared error of the taken actions' means against their rewards, and the loss of their variances."""
    return regression(batch, batch.rewards_B)


def regression(batch: Minibatch, targets_B: Tensor) -> Loss:
    """Squared error of the taken actions' means against targets, and the loss of their variances."""
    mean_B = batch.values.mean.gather(1, batch.slots_B1)[:, 0]
    log_variance_B = batch.values.log_variance.gather(1, batch.slots_B1)[:, 0]
    error = (mean_B - targets_B).square().mean()
    return Loss(error + aleatoric_loss(mean_B.detach(), targets_B, log_variance_B), error)
