from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.replaying import replay_weights, replayed
from shared.loop_settings import LearningSettings
from tests.unit.services.trainer.test_fine_tuning import ARCHITECTURE, experiences


def examples(probabilities: list[float | None]) -> Examples:
    rows = [
        replace(one, row=replace(one.row, probability=probability))
        for one, probability in zip(experiences(len(probabilities)), probabilities, strict=True)
    ]
    return examples_of(rows, ARCHITECTURE, (0.0, 1.0))


def looks(of: Examples) -> list[int]:
    """How often each example comes, in order."""
    count = Counter(one.row.decision_id for one in of.experiences)
    return [count[str(index)] for index in range(len(of))]


def test_by_default_every_experience_comes_once_in_its_order() -> None:
    of = examples([0.001, 0.9, None, 1.0, 0.3])
    again = replayed(of, LearningSettings())
    assert list(again.experiences) == list(of.experiences)
    assert torch.equal(again.slots, of.slots)
    assert torch.equal(again.rewards, of.rewards)


def test_older_experiences_come_half_as_often_for_each_half_life() -> None:
    of = examples([0.5] * 1200)
    often = looks(replayed(of, LearningSettings(replay_half_life=300)))
    quarters = [sum(often[start : start + 300]) for start in range(0, 1200, 300)]
    assert sum(quarters) == 1200
    for older, newer in pairwise(quarters):
        assert newer / older == pytest.approx(2, rel=0.05)


def test_rare_draws_come_more_often_up_to_the_limit() -> None:
    weights = replay_weights(examples([1.0, 0.5, 0.1, 1e-9, None]), LearningSettings(propensity_limit=10))
    torch.testing.assert_close(weights / weights[0], torch.tensor([1, 2, 10, 10, 1], dtype=torch.float64))
    assert float(weights.mean()) == pytest.approx(1.0)


def test_what_comes_twice_keeps_its_slot_and_its_reward() -> None:
    of = replayed(examples([0.1, *[1.0] * 30]), LearningSettings(propensity_limit=30))
    assert looks(of)[0] > 1
    known = {one.row.decision_id: one.row for one in of.experiences}
    for one, slot, reward in zip(of.experiences, of.slots.tolist(), of.rewards.tolist(), strict=True):
        assert reward == known[one.row.decision_id].reward
        assert ARCHITECTURE.action_ids[slot] == one.row.action_id
