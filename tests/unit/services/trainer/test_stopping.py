import numpy as np
import pytest
import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.fine_tuning import fine_tune
from services.trainer.networks import Networks
from services.trainer.objectives import reward_regression
from services.trainer.process_group import ALONE
from services.trainer.stopping import EVERY, MOST, EarlyStopping, held_out
from shared.loop_settings import LearningSettings
from shared.registry.manifest import Architecture
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.test_fine_tuning import experiences

ARCHITECTURE = Architecture.of(bandit.settings())
LEARNING = LearningSettings()


def examples(count: int) -> Examples:
    return examples_of(experiences(count), ARCHITECTURE, (0.0, 1.0))


@pytest.mark.parametrize(("count", "least", "most"), [(1000, 80, 120), (8000, MOST, MOST)])
def test_about_a_tenth_is_held_out_the_newest_where_that_is_many(count: int, least: int, most: int) -> None:
    learned, others = held_out(examples(count), LEARNING)
    assert others is not None
    assert least <= len(others) <= most
    sides = [{one.row.sequence for one in side.experiences} for side in (learned, others)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == count


def test_repeats_of_an_experience_fall_on_one_side() -> None:
    once = examples(500)
    twice = Examples([*once.experiences] * 2, once.slots.repeat(2), once.rewards.repeat(2))
    learned, others = held_out(twice, LEARNING)
    assert others is not None
    assert not {one.row.sequence for one in learned.experiences} & {one.row.sequence for one in others.experiences}


@pytest.mark.parametrize(
    ("count", "learning"),
    [(100, LEARNING), (500, LearningSettings(patience=None)), (500, LearningSettings(objective="q_learning"))],
)
def test_nothing_is_held_out_of_few_or_without_patience_or_where_targets_move(
    count: int, learning: LearningSettings
) -> None:
    assert held_out(examples(count), learning)[1] is None


def test_noise_is_not_learned_by_heart() -> None:
    """Rewards are a coin's: whoever expects one half everywhere is right."""
    coins = examples(600)
    coins.rewards[:] = torch.from_numpy(np.random.default_rng(0).integers(0, 2, 600)).float()
    errors, steps = [], []
    for patience in (100, None):
        learning = LearningSettings(max_steps=400, patience=patience)
        tuned = fine_tune(Networks.seeded(ARCHITECTURE, 0), coins, learning, 0, lambda *_: None)
        with torch.no_grad():
            state_NS = torch.randn(200, ARCHITECTURE.state_width, generator=torch.Generator().manual_seed(0))
            errors.append(float((tuned.networks.q_network(state_NS).mean - 0.5).square().mean()))
        steps.append(tuned.steps)
    assert steps[0] < steps[1] == 400
    assert errors[0] < 0.5 * errors[1]


def test_the_best_weights_are_kept_and_patience_is_counted_from_them() -> None:
    networks, of = Networks.seeded(ARCHITECTURE, 0).learning(), examples(60)
    stopping = EarlyStopping(networks, of, reward_regression, 2 * EVERY)
    bias = networks.q_network.mean.bias
    ends = []
    for step, value in ((1, 0.4), (EVERY, 0.5), (2 * EVERY, 9.0), (3 * EVERY, 9.0)):
        with torch.no_grad():
            bias.fill_(value)
            networks.q_network.mean.weight.zero_()
            networks.q_network.trained.fill_(True)
        ends.append(stopping.is_over(step, 10 * EVERY, ALONE))
    assert ends == [False, False, False, True]
    stopping.restore()
    assert bias.tolist() == [0.5] * len(bias)
