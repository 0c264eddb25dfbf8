"""Fitted iteration against value iteration, on networks that have learned next to nothing."""

import pytest
import torch

from services.trainer.fitted_iteration import fitted_targets, head_targets
from services.trainer.heads import add_examples
from services.trainer.networks import Networks
from shared.networks.parts import empty_statistics
from shared.registry.manifest import Architecture
from tests.unit.services.trainer.test_q_learning import (
    DISCOUNT,
    RANGE,
    every_transition,
    optimal_values,
    settings,
)


def nothing() -> None: ...


def exact(features: bool) -> torch.Tensor:
    """Targets of every transition by value iteration, standardised."""
    low, high = RANGE
    values = (torch.from_numpy(optimal_values()) - low) / (high - low)
    # Place after place, and action after action in each.
    return values.flatten().repeat(len(every_transition(settings(features=features))) // values.numel())


@pytest.mark.parametrize("features", [False, True])
def test_targets_are_those_of_value_iteration_whatever_the_network_learned(features: bool) -> None:
    of = settings(features=features)
    networks = Networks.seeded(Architecture.of(of), 0).frozen()
    found = fitted_targets(networks, every_transition(of), DISCOUNT, nothing)
    torch.testing.assert_close(found.double(), exact(features), atol=0.05, rtol=0)


def test_the_head_of_its_own_targets_changes_them_no_more() -> None:
    of = settings()
    networks, examples = Networks.seeded(Architecture.of(of), 0).frozen(), every_transition(of)
    aims = fitted_targets(networks, examples, DISCOUNT, nothing)
    valued = type(examples)(examples.experiences, examples.slots, aims, examples.zero)
    statistics = add_examples(networks, empty_statistics(networks.architecture), valued, nothing)
    found = head_targets(networks, statistics, examples, DISCOUNT, nothing)
    torch.testing.assert_close(found, aims, atol=2e-4, rtol=0)


def test_where_nothing_follows_targets_are_rewards() -> None:
    of = settings()
    examples = every_transition(of)
    ended = [one for one in examples.experiences if one.end == "terminated"]
    rows = [index for index, one in enumerate(examples.experiences) if one.end == "terminated"]
    alone = type(examples)(ended, examples.slots[rows], examples.rewards[rows], examples.zero)
    networks = Networks.seeded(Architecture.of(of), 0).frozen()
    assert torch.equal(fitted_targets(networks, alone, DISCOUNT, nothing), examples.rewards[rows])
