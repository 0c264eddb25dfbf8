"""What the trainer ships is what serving learns online, weights and forgetting included."""

from dataclasses import replace

import pytest
import torch

from services.trainer.examples import examples_of
from services.trainer.experiences import PreparedExperience
from services.trainer.fine_tuning import fine_tune
from services.trainer.heads import add_examples
from services.trainer.networks import Networks
from shared.loop_settings import LearningSettings
from shared.networks.batches import collate
from shared.networks.parts import empty_statistics
from shared.networks.policy import Policy
from shared.networks.q_network import MOST_WEIGHT
from shared.registry.manifest import Architecture
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.test_fine_tuning import experiences

ARCHITECTURE = Architecture.of(bandit.settings())
HOUR = 3_600_000_000


def half_noisy() -> list[PreparedExperience]:
    """`middle` earns one half for certain; of the others nobody knows."""
    coin = torch.rand(300, generator=torch.Generator().manual_seed(0)).round().tolist()
    return [
        replace(one, row=replace(one.row, reward=0.5 if one.row.action_id == "middle" else coin[index], decided_at=at))
        for index, one in enumerate(experiences(300))
        for at in (index * HOUR // 10,)
    ]


def trained() -> Networks:
    examples = examples_of(half_noisy(), ARCHITECTURE, (0.0, 1.0))
    return fine_tune(
        Networks.seeded(ARCHITECTURE, 0), examples, LearningSettings(max_steps=150), 0, report_nothing
    ).networks


def report_nothing(*_: object) -> None:
    """A run's report that nobody reads."""


@pytest.mark.parametrize("half_life", [0, HOUR])
def test_serving_learns_the_statistics_that_the_trainer_ships(half_life: int) -> None:
    networks, rows = trained(), half_noisy()
    empty = empty_statistics(ARCHITECTURE, half_life)
    shipped = add_examples(networks, empty, examples_of(rows, ARCHITECTURE, (0.0, 1.0)), report_nothing)
    with torch.no_grad():
        states = networks.states(collate([one.features for one in rows], list(ARCHITECTURE.modalities)))
        online = Policy(ARCHITECTURE, networks.q_network, empty)
        # Rewards that are restated at once.
        first = torch.zeros(300, dtype=torch.float64)
        ids = [one.row.action_id for one in rows]
        rewards = torch.tensor([one.row.reward for one in rows], dtype=torch.float64)
        times = torch.tensor([one.row.decided_at for one in rows])
        for part in torch.arange(300).split(50):
            of = states[part], [ids[index] for index in part.tolist()], None
            online = online.learned(*of, first[part], times[part]).learned(*of, rewards[part], times[part], first[part])
    for name, tensor in shipped.tensors().items():
        torch.testing.assert_close(tensor, online._statistics.tensors()[name], msg=name)


def test_what_is_certain_counts_more_than_what_is_noise() -> None:
    networks, examples = trained(), examples_of(half_noisy(), ARCHITECTURE, (0.0, 1.0))
    statistics = add_examples(networks, empty_statistics(ARCHITECTURE), examples, report_nothing)
    left, middle, right = (statistics.outer[:, -1, -1] / statistics.count).tolist()
    assert 1 / MOST_WEIGHT <= max(left, right) < middle <= MOST_WEIGHT


def test_until_it_is_trained_every_experience_counts_alike() -> None:
    networks = Networks.seeded(ARCHITECTURE, 0).frozen()
    examples = examples_of(half_noisy(), ARCHITECTURE, (0.0, 1.0))
    statistics = add_examples(networks, empty_statistics(ARCHITECTURE), examples, report_nothing)
    torch.testing.assert_close(statistics.outer[:, -1, -1], statistics.count)
