"""The reward-guided objective against the gradient of equation 14, worked out by hand."""

from dataclasses import replace

import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.networks import Networks
from services.trainer.objectives import MOST_WEIGHT, Minibatch, reward_guided, reward_regression
from shared.loop_settings import LearningSettings
from shared.networks.batches import collate
from shared.networks.parts import empty_statistics, load_policy, save_policy
from shared.networks.policy import Candidates, Policy, distribution
from shared.networks.q_network import QValues
from shared.registry.manifest import Architecture
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.test_fine_tuning import experiences

ARCHITECTURE = Architecture.of(bandit.settings(learning=LearningSettings(objective="reward_guided").model_dump()))
LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])


def examples(*probabilities: float | None) -> Examples:
    """One of `left` with reward 1 and one of `right` with reward 0, drawn with these probabilities."""
    left, right = experiences(2)
    rows = [
        replace(one, row=replace(one.row, action_id=action, reward=reward, probability=probability))
        for one, action, reward, probability in zip(
            (left, right), ("left", "right"), (1.0, 0.0), probabilities, strict=True
        )
    ]
    return examples_of(rows, ARCHITECTURE, (0.0, 1.0))


def gradient(of: Examples) -> torch.Tensor:
    logits = LOGITS.clone().requires_grad_()
    values = QValues(torch.zeros(2, 4), torch.zeros(2, 3), torch.zeros(2, 3), logits)
    batch = Minibatch(of, torch.arange(2), values)
    reward_guided(batch).total.backward()
    assert logits.grad is not None
    return logits.grad


def expected(weights: list[float]) -> torch.Tensor:
    """Of -w (r - b) log π, averaged: -w (r - b) (1[a] - π) / B, with b = 1/2."""
    policy, taken = LOGITS.softmax(1), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    advantage = torch.tensor([[weights[0] * 0.5], [weights[1] * -0.5]])
    return -advantage * (taken - policy) / 2


def test_follows_the_weighted_policy_gradient() -> None:
    policy = LOGITS.softmax(1)
    weights = [float(policy[0, 0]) / 0.5, float(policy[1, 2]) / 0.25]
    torch.testing.assert_close(gradient(examples(0.5, 0.25)), expected(weights))


def test_bounds_the_weight_and_leaves_out_what_was_not_drawn() -> None:
    torch.testing.assert_close(gradient(examples(1e-6, None)), expected([MOST_WEIGHT, 0.0]))


def test_expected_rewards_are_regressed_as_ever() -> None:
    values = QValues(torch.zeros(2, 4), torch.rand(2, 3), torch.zeros(2, 3), LOGITS)
    batch = Minibatch(examples(0.5, 0.5), torch.arange(2), values)
    assert reward_guided(batch).error == reward_regression(batch).error


def test_its_softmax_is_the_distribution_of_the_policy_that_serves() -> None:
    networks = Networks.seeded(ARCHITECTURE, 0)
    assert networks.q_network.policy is not None
    torch.nn.init.normal_(networks.q_network.policy.weight)
    policy = Policy(
        ARCHITECTURE, *load_policy(ARCHITECTURE, save_policy(networks.q_network, empty_statistics(ARCHITECTURE)))
    )
    states = networks.frozen().states(collate([one.features for one in experiences(2)], list(ARCHITECTURE.modalities)))
    candidates = Candidates.of([list(bandit.ACTIONS), ["right", "left"]], [[1], []])
    exploration = bandit.settings().exploration.model_copy(update={"floor": 0.0})
    drawn = distribution(policy.score(states, candidates, None), candidates.allowed, exploration, (0.0, 1.0))
    logits = networks.q_network.double()(states.double()).policy_logits
    assert logits is not None
    torch.testing.assert_close(drawn[0, [0, 2]], logits[0, [0, 2]].softmax(0))
    torch.testing.assert_close(drawn[1, :2], logits[1, [2, 0]].softmax(0))
