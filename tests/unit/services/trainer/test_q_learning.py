"""Q-learning held against value iteration on a small MDP: four places in a line, a prize at either end.

The states are one-hot embeddings; every transition stands in the experiences equally often.
"""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from services.trainer.bootstrapping import next_values, targets
from services.trainer.examples import Examples, examples_of
from services.trainer.experiences import NextState, PreparedExperience
from services.trainer.fine_tuning import fine_tune
from services.trainer.networks import Networks
from services.trainer.repository import JoinedRow
from shared.domain import Action, Doubles
from shared.loop_settings import LearningSettings, LoopSettings
from shared.networks.preparation import Row
from shared.networks.preprocessing import action_features, embedding_features
from shared.registry.manifest import Architecture

PLACES, DISCOUNT = 4, 0.8
ACTIONS: Mapping[str, int] = {"left": -1, "right": 1}
# What the step out of the line at either end earns; every other step costs.
PRIZES, COST = {-1: 0.2, PLACES: 1.0}, -0.05
RANGE = (-1.0, 1.0)


def settings(*, features: bool = False, **learning: object) -> LoopSettings:
    actions = [{"id": name, "features": {"step": step}} if features else {"id": name} for name, step in ACTIONS.items()]
    return LoopSettings.model_validate(
        {
            "problem_type": "episodic",
            "modalities": {"place": {"kind": "embedding", "dimension": PLACES}},
            "actions": actions,
            "reward": {"range": RANGE},
            "learning": {
                "objective": "q_learning",
                "discount": DISCOUNT,
                "target_update_steps": 125,
                "learning_rate": 5e-4,
                "max_steps": 1000,
                "l2_sp": 0.0,
            }
            | learning,
        }
    )


def place_features(place: int) -> Row:
    return {"place": embedding_features(np.eye(PLACES, dtype=np.float32)[place], PLACES)}


def experience(sequence: int, place: int, name: str, of: LoopSettings) -> PreparedExperience:
    bags = {one.id: action_features(Action(one.id, one.features)) for one in of.actions}
    following = place + ACTIONS[name]
    row = JoinedRow(sequence, sequence, str(sequence), name, 0.5, PRIZES.get(following, COST))
    if following in PRIZES:
        return PreparedExperience(row, place_features(place), bags[name], end="terminated")
    state = NextState(place_features(following), list(bags), list(bags.values()))
    return PreparedExperience(row, place_features(place), bags[name], next_state=state)


def every_transition(of: LoopSettings, times: int = 200) -> Examples:
    pairs = [(place, name) for place in range(PLACES) for name in ACTIONS] * times
    made = [experience(sequence, *pair, of) for sequence, pair in enumerate(pairs)]
    return examples_of(made, Architecture.of(of), RANGE)


def optimal_values() -> Doubles:
    """Q* [places, actions] by value iteration."""
    q = np.zeros((PLACES, len(ACTIONS)))
    for _ in range(200):
        for place in range(PLACES):
            for column, step in enumerate(ACTIONS.values()):
                ahead = place + step
                q[place, column] = PRIZES[ahead] if ahead in PRIZES else COST + DISCOUNT * q[ahead].max()
    return q


def learned_values(networks: Networks, of: LoopSettings) -> Doubles:
    """Q [places, actions] in units of the reward."""
    bags = [action_features(Action(one.id, one.features)) for one in of.actions]
    states = [NextState(place_features(place), list(ACTIONS), bags) for place in range(PLACES)]
    values, mask = next_values(networks, states)
    assert bool(mask.all())
    return (RANGE[0] + (RANGE[1] - RANGE[0]) * values).double().numpy()


def tuned(of: LoopSettings, examples: Examples | None = None) -> Networks:
    champion = Networks.seeded(Architecture.of(of), 0)
    return fine_tune(champion, examples or every_transition(of), of.learning, 0, lambda *_: None).networks


@pytest.fixture(scope="module")
def learned() -> Networks:
    """What Q-learning makes of every transition."""
    return tuned(settings())


def test_the_networks_reach_the_values_of_value_iteration(learned: Networks) -> None:
    np.testing.assert_allclose(learned_values(learned, settings()), optimal_values(), atol=0.12)


def test_so_does_double_q_learning() -> None:
    of = settings(double_q=True)
    np.testing.assert_allclose(learned_values(tuned(of), of), optimal_values(), atol=0.12)


def test_networks_that_read_the_features_of_actions_are_on_the_way() -> None:
    """One head for all actions rises more slowly from the least of the range; it ranks them rightly long before."""
    of = settings(features=True)
    values = learned_values(tuned(of), of)
    np.testing.assert_array_equal(values.argmax(1), optimal_values().argmax(1))
    np.testing.assert_allclose(values, optimal_values(), atol=0.35)


def test_without_discount_it_is_regression_on_rewards() -> None:
    of = settings(discount=0.0, max_steps=100)
    regression = of.learning.model_copy(update={"objective": "reward_regression", "patience": None})
    champion, examples = Networks.seeded(Architecture.of(of), 0), every_transition(of)
    weights = [
        list(fine_tune(champion, examples, learning, 0, lambda *_: None).networks.parameters())
        for learning in (of.learning, regression)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_target_that_never_moves_is_the_champion() -> None:
    """That expects the least of the range everywhere."""
    of = settings(target_update_steps=10_000, max_steps=300)
    values = learned_values(tuned(of), of)
    assert values[-1, 1] == pytest.approx(PRIZES[PLACES], abs=0.12)
    assert values[0, 1] == pytest.approx(COST + DISCOUNT * RANGE[0], abs=0.12)


def test_targets_of_the_head_are_a_reward_and_what_follows(learned: Networks) -> None:
    examples = every_transition(settings(), times=1)
    aims = targets(learned, examples.experiences, examples.rewards, examples.zero, DISCOUNT, lambda: None)
    low, high = RANGE
    np.testing.assert_allclose(
        (low + (high - low) * aims.numpy()).reshape(PLACES, len(ACTIONS)), optimal_values(), atol=0.12
    )


def test_actions_that_are_excluded_next_have_no_part(learned: Networks) -> None:
    state = NextState(place_features(2), ["left"], ())
    values, mask = next_values(learned, [None, state])
    assert mask.tolist() == [[False, False], [True, False]]
    one = experience(0, 1, "right", settings())
    narrowed = PreparedExperience(one.row, one.features, one.action, next_state=state)
    rewards = torch.tensor([0.5])
    (aim,) = targets(learned, [narrowed], rewards, 0.5, DISCOUNT, lambda: None)
    assert float(aim) == pytest.approx(0.5 + DISCOUNT * (float(values[1, 0]) - 0.5))


def test_what_terminated_or_is_followed_is_whole() -> None:
    row, bag = JoinedRow(1, 1, "d", "left", 0.5, 0.0), action_features(Action("left"))
    state = NextState({}, ["left"], ())
    assert not PreparedExperience(row, {}, bag).is_whole
    assert not PreparedExperience(row, {}, bag, end="truncated").is_whole
    assert PreparedExperience(row, {}, bag, next_state=state, end="truncated").following is state
    assert PreparedExperience(row, {}, bag, next_state=state, end="terminated").following is None
    assert PreparedExperience(row, {}, bag, end="terminated").is_whole


def test_settings_are_those_of_the_docstring() -> None:
    assert LearningSettings().bootstraps is False
    assert LearningSettings(objective="q_learning").bootstraps
    assert not LearningSettings(objective="q_learning", discount=0.0).bootstraps
