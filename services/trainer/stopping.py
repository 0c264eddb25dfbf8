"""Early stopping: a fine-tune ends once experiences that it does not learn say that it learns the others by heart.

They are about a tenth of what it is given, picked by their place in the loop's sequence alone, so that repeats of an
experience fall on one side; the newest of them, up to 512. The head learns them all the same.

Shapes: N rows.
"""

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from services.trainer.examples import Examples
from services.trainer.networks import Networks
from services.trainer.objectives import Minibatch, Objective
from services.trainer.process_group import Rank
from shared.loop_settings import LearningSettings
from shared.networks.batches import collate, collate_bags
from shared.networks.q_network import QValues

SHARE: Final = 10
MOST: Final = 512
# Fewer tell chance from learning badly.
LEAST: Final = 30
# Steps between two looks.
EVERY: Final = 50
# Knuth's multiplicative hash: experiences that come in turns would else be picked in turns.
MULTIPLIER: Final = 2654435761


def held_out(examples: Examples, learning: LearningSettings) -> tuple[Examples, Examples | None]:
    """What to learn, and what to stop by; None where it is too little, or the settings do not ask for it.

    Targets of Q-learning move with what is learned: their error does not tell when to stop.
    """
    if learning.patience is None or learning.objective == "q_learning":
        return examples, None
    sequences = [one.row.first_sequence for one in examples.experiences]
    picked_N = torch.tensor([(sequence * MULTIPLIER >> 16) % SHARE == 0 for sequence in sequences])
    picked_N &= picked_N.flip(0).cumsum(0).flip(0) <= MOST
    if int(picked_N.sum()) < LEAST:
        return examples, None
    return _only(examples, ~picked_N), _only(examples, picked_N)


class EarlyStopping:
    """Watches the loss of held-out examples, and keeps the weights with the lowest; without examples it never stops."""

    def __init__(
        self, networks: Networks, examples: Examples | None, objective: Objective, patience: int | None
    ) -> None:
        self._networks, self._examples, self._objective, self._patience = networks, examples, objective, patience
        self._best, self._best_step = math.inf, 0
        self._weights: list[dict[str, Tensor]] | None = None

    def is_over(self, step: int, steps: int, rank: Rank) -> bool:
        """Whether the fine-tune is to end after so many of its steps."""
        if self._examples is None or self._patience is None or (step % EVERY and step < steps):
            return False
        # Ranks hold the same weights, and must agree to the bit.
        loss = float(rank.mean(self._loss(self._examples)))
        if loss < self._best:
            self._best, self._best_step = loss, step
            self._weights = [
                {name: tensor.clone() for name, tensor in module.state_dict().items()}
                for module in self._networks.modules
            ]
        return step - self._best_step >= self._patience

    def restore(self) -> None:
        """Gives the networks the best weights back."""
        for module, weights in zip(self._networks.modules, self._weights or (), strict=False):
            module.load_state_dict(weights)

    def _loss(self, examples: Examples) -> Tensor:
        """The error that the run reports; of a policy that is learned itself, what is minimised."""
        with torch.no_grad(), self._networks.at_rest():
            loss = self._objective(Minibatch(examples, torch.arange(len(examples)), _values(self._networks, examples)))
        return loss.error if self._networks.q_network.policy is None else loss.total


def _values(networks: Networks, examples: Examples) -> QValues:
    """On the CPU; of all rows at once, which are few."""
    rows, names = examples.experiences, list(networks.architecture.modalities)
    actions = collate_bags([one.action for one in rows]) if networks.architecture.action_features else None
    return networks.estimates(collate([one.features for one in rows], names), actions).on_cpu()


def _only(examples: Examples, rows_N: Tensor) -> Examples:
    index = rows_N.nonzero()[:, 0]
    return replace(
        examples,
        experiences=[examples.experiences[one] for one in index.tolist()],
        slots=examples.slots[index],
        rewards=examples.rewards[index],
    )
