from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.experiences import PreparedExperience
from services.trainer.fine_tuning import DivergedError, FineTuned
from services.trainer.handover import (
    Assignment,
    read_assignment,
    read_outcome,
    read_progress,
    write_assignment,
    write_outcome,
    write_progress,
)
from services.trainer.networks import Networks
from shared.loop_settings import LearningSettings
from shared.networks.preprocessing import Bag, Features
from shared.registry.manifest import Architecture
from tests.unit.services.trainer import multimodal

ARCHITECTURE = Architecture.of(multimodal.settings())
LEARNING = LearningSettings(max_steps=7, l2_sp=0.5)


def passed_on(folder: Path, examples: Examples) -> Assignment:
    write_assignment(folder, Assignment(Networks.seeded(ARCHITECTURE, 3), examples, LEARNING, 11))
    return read_assignment(folder)


def features_equal(one: Features, other: Features) -> bool:
    if isinstance(one, Bag):
        assert isinstance(other, Bag)
        return features_equal(one.buckets, other.buckets) and features_equal(one.weights, other.weights)
    assert not isinstance(other, Bag)
    return one.dtype == other.dtype and np.array_equal(one, other)


def rows_equal(one: PreparedExperience, other: PreparedExperience) -> bool:
    return one.features.keys() == other.features.keys() and all(
        features_equal(value, other.features[name]) for name, value in one.features.items()
    )


def test_all_that_is_learned_from_arrives(tmp_path: Path) -> None:
    given = examples_of(multimodal.experiences(40), ARCHITECTURE, (-1.0, 1.0))
    champion, examples, learning, seed = passed_on(tmp_path, given)
    assert (learning, seed, champion.architecture) == (LEARNING, 11, ARCHITECTURE)
    assert all(map(torch.equal, champion.parameters(), Networks.seeded(ARCHITECTURE, 3).parameters()))
    assert torch.equal(examples.slots, given.slots)
    assert torch.equal(examples.rewards, given.rewards)
    assert examples.zero == given.zero == 0.5
    assert [one.row for one in examples.experiences] == [one.row for one in given.experiences]
    assert all(map(rows_equal, examples.experiences, given.experiences))
    for one, other in zip(examples.experiences, given.experiences, strict=True):
        assert features_equal(one.action, other.action)


def test_what_followed_arrives_with_its_candidates(tmp_path: Path) -> None:
    given = examples_of(multimodal.experiences(40), ARCHITECTURE, (0.0, 1.0)).experiences
    found = passed_on(tmp_path, examples_of(given, ARCHITECTURE, (0.0, 1.0))).examples.experiences
    assert [one.end for one in found] == [one.end for one in given]
    pairs = [(one.next_state, other.next_state) for one, other in zip(found, given, strict=True)]
    assert sum(other is not None for _, other in pairs) == 13
    for one, other in pairs:
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert list(one.action_ids) == list(other.action_ids)
            assert one.features.keys() == other.features.keys()
            assert all(map(features_equal, one.actions, other.actions))
            assert len(one.actions) == len(other.actions)


def test_rewards_beyond_all_bounds_arrive_as_they_are(tmp_path: Path) -> None:
    first, *rest = multimodal.experiences(12)
    endless = [replace(first, row=replace(first.row, reward=float("inf"))), *rest]
    examples = passed_on(tmp_path, examples_of(endless, ARCHITECTURE, (0.0, 1.0))).examples
    assert examples.experiences[0].row.reward == float("inf")
    assert examples.rewards[0] == torch.inf


def test_what_came_of_it_arrives(tmp_path: Path) -> None:
    networks = Networks.seeded(ARCHITECTURE, 5)
    write_outcome(tmp_path, FineTuned(networks, 0.1 + 0.2, 7, 1.5, 0.25))
    found = read_outcome(tmp_path, ARCHITECTURE)
    assert (found.loss, found.steps, found.distance, found.adapter_norm) == (0.1 + 0.2, 7, 1.5, 0.25)
    assert all(map(torch.equal, found.networks.parameters(), networks.parameters()))


def test_that_it_diverged_arrives_as_an_error(tmp_path: Path) -> None:
    write_outcome(tmp_path, DivergedError("the loss is nan"))
    with pytest.raises(DivergedError, match="the loss is nan"):
        read_outcome(tmp_path, ARCHITECTURE)


def test_progress_is_that_last_told(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    for step in (1, 2):
        write_progress(tmp_path, step, 9, 1.0 / step)
    assert read_progress(tmp_path) == (2, 9, 0.5)
