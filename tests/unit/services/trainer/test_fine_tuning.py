import numpy as np
import pytest
import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.experiences import PreparedExperience
from services.trainer.fine_tuning import (
    LEAST_STEPS,
    DivergedError,
    _minibatches,
    fine_tune,
    steps_for,
)
from services.trainer.networks import Networks
from services.trainer.repository import JoinedRow
from shared.domain import Action
from shared.loop_settings import LearningSettings
from shared.networks.preparation import Row
from shared.networks.preprocessing import action_features, embedding_features
from shared.registry.manifest import Architecture
from tests.unit.services.trainer import bandit

ARCHITECTURE = Architecture.of(bandit.settings())
LEARNING = LearningSettings(max_steps=100)


def experiences(count: int, actions: tuple[str, ...] = bandit.ACTIONS, scale: float = 1.0) -> list[PreparedExperience]:
    """The reward is whether the first number is positive for `left`, negative for the others."""
    generator = np.random.default_rng(0)
    made = []
    for sequence in range(count):
        place = generator.normal(size=bandit.DIMENSION).astype(np.float32)
        action = actions[int(generator.integers(len(actions)))]
        reward = scale * float((place[0] > 0) == (action == "left"))
        row = JoinedRow(sequence, sequence, str(sequence), action, 0.5, reward)
        features: Row = {"place": embedding_features(place, bandit.DIMENSION)}
        made.append(PreparedExperience(row, features, action_features(Action(action))))
    return made


def tuned(examples: Examples, learning: LearningSettings = LEARNING, seed: int = 0) -> tuple[Networks, float, int]:
    done = fine_tune(Networks.seeded(ARCHITECTURE, 0), examples, learning, seed, lambda *_: None)
    return done.networks, done.loss, done.steps


def test_rewards_are_standardised_and_unknown_actions_left_out() -> None:
    examples = examples_of(experiences(40, ("left", "gone"), scale=1000.0), ARCHITECTURE, (0.0, 1000.0))
    assert 0 < len(examples) < 40
    assert set(examples.slots.tolist()) == {0}
    assert set(examples.rewards.tolist()) == {0.0, 1.0}


def test_the_loss_falls_below_that_of_the_mean() -> None:
    examples = examples_of(experiences(400), ARCHITECTURE, (0.0, 1.0))
    _, loss, steps = tuned(examples, LearningSettings(max_steps=300, patience=None))
    assert steps == 300
    assert loss < 0.3 * float(examples.rewards.var())


def test_the_seed_alone_makes_the_difference() -> None:
    examples = examples_of(experiences(100), ARCHITECTURE, (0.0, 1.0))
    first, again, other = (list(tuned(examples, seed=seed)[0].parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_strong_pull_keeps_the_weights_nearer_to_the_champion() -> None:
    champion = list(Networks.seeded(ARCHITECTURE, 0).frozen().parameters())
    examples = examples_of(experiences(100), ARCHITECTURE, (0.0, 1.0))

    def distance(l2_sp: float) -> float:
        networks, _, _ = tuned(examples, LearningSettings(max_steps=100, l2_sp=l2_sp), seed=1)
        pairs = zip(networks.frozen().parameters(), champion, strict=True)
        return sum(float((one - two).square().sum()) for one, two in pairs)

    assert distance(10.0) < 0.5 * distance(0.0)


def test_an_action_without_examples_is_worth_what_the_others_are() -> None:
    networks, _, _ = tuned(examples_of(experiences(100, ("left", "middle")), ARCHITECTURE, (0.0, 1.0)))
    prior_KF = networks.q_network.prior_mean()
    assert torch.allclose(prior_KF[2], prior_KF[:2].mean(0))


def test_progress_is_told_at_every_step() -> None:
    told: list[tuple[int, int]] = []
    examples = examples_of(experiences(20), ARCHITECTURE, (0.0, 1.0))
    champion = Networks.seeded(ARCHITECTURE, 0)
    fine_tune(champion, examples, LEARNING, 0, lambda step, steps, _: told.append((step, steps)))
    assert told == [(step, 100) for step in range(1, 101)]


def test_a_reward_that_is_not_a_number_diverges() -> None:
    examples = examples_of(experiences(50), ARCHITECTURE, (0.0, 1.0))
    examples.rewards[3] = torch.nan
    with pytest.raises(DivergedError, match="the loss is nan"):
        tuned(examples)


def test_every_example_is_seen_once_before_any_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.cat(list(_minibatches(128, 4, generator)))
    assert sorted(seen[:128].tolist()) == sorted(seen[128:].tolist()) == list(range(128))


@pytest.mark.parametrize(("count", "most", "steps"), [(10, 600, LEAST_STEPS), (10, 50, 50), (10_000, 600, 600)])
def test_steps_follow_the_examples_within_bounds(count: int, most: int, steps: int) -> None:
    assert steps_for(count, most) == steps


def test_the_distance_from_the_champion_shrinks_as_l2_sp_grows() -> None:
    examples = examples_of(experiences(100), ARCHITECTURE, (0.0, 1.0))
    champion = Networks.seeded(ARCHITECTURE, 0)

    def distance(l2_sp: float) -> float:
        learning = LEARNING.model_copy(update={"l2_sp": l2_sp})
        return fine_tune(champion, examples, learning, 1, lambda *_: None).distance

    assert distance(10.0) < 0.8 * distance(0.0)


def test_beta_pulls_the_adapters_towards_changing_nothing() -> None:
    architecture = ARCHITECTURE.model_copy(update={"adapter_rank": 4})
    examples = examples_of(experiences(100), architecture, (0.0, 1.0))
    champion = Networks.seeded(architecture, 0)

    def size(beta: float) -> float:
        learning = LEARNING.model_copy(update={"tune": "adapters", "adapter_beta": beta})
        done = fine_tune(champion, examples, learning, 1, lambda *_: None).networks
        assert all(
            torch.equal(*pair) for pair in zip(done.fusion.parameters(), champion.fusion.parameters(), strict=True)
        )
        return sum(float(one.square().sum()) for one in done.encoder.adapters.parameters())

    assert size(1.0) < 0.5 * size(0.0)
