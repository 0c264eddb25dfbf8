"""Actions that nobody has seen are expected to be worth what their features say: by trainer and serving together."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from services.trainer.examples import examples_of
from services.trainer.experiences import PreparedExperience
from services.trainer.fine_tuning import fine_tune
from services.trainer.heads import add_examples
from services.trainer.networks import Networks
from services.trainer.repository import JoinedRow
from shared.domain import Action, Doubles
from shared.loop_settings import LearningSettings, LoopSettings
from shared.networks.batches import collate, collate_bags
from shared.networks.parts import empty_statistics
from shared.networks.policy import Candidates, Policy
from shared.networks.preprocessing import action_features, table_features
from shared.registry.manifest import Architecture

ARCHITECTURE = Architecture.of(LoopSettings.model_validate({"modalities": {"user": {"kind": "tabular"}}}))
USER = {"user": table_features({"country": "pt"})}
BRANDS = {"b0": 0.4, "b1": 0.0, "b2": 0.2, "b3": -0.2}
COLOURS = {"c0": 0.2, "c1": -0.3, "c2": 0.0, "c3": 0.1, "c4": -0.1}


def made(count: int, name: str, generator: np.random.Generator) -> list[Action]:
    return [
        Action(
            f"{name}{i}", {"brand": str(generator.choice(list(BRANDS))), "colour": str(generator.choice([*COLOURS]))}
        )
        for i in range(count)
    ]


def worth(action: Action) -> float:
    assert action.features is not None
    return 0.5 + BRANDS[str(action.features["brand"])] + COLOURS[str(action.features["colour"])]


def experiences(actions: Sequence[Action], count: int, generator: np.random.Generator) -> list[PreparedExperience]:
    """Of actions drawn evenly, with a coin's reward that falls as often as the action is worth."""
    rows = []
    for sequence in range(count):
        action = actions[int(generator.integers(len(actions)))]
        reward = float(generator.random() < worth(action))
        row = JoinedRow(sequence, sequence, str(sequence), action.id, 1 / len(actions), reward)
        rows.append(PreparedExperience(row, USER, action_features(action)))
    return rows


def expected(networks: Networks, policy: Policy, actions: Sequence[Action]) -> Doubles:
    with torch.no_grad():
        states_BS = networks.states(collate([USER], ["user"]))
        encoded_NE = networks.encoder.encode_actions(collate_bags([action_features(one) for one in actions]))
        scores = policy.score(states_BS, Candidates.of([[one.id for one in actions]], [[]]), encoded_NE)
    return scores.expected_reward[0].numpy()


@pytest.mark.parametrize(("is_tuned", "seed"), [(False, 1), (True, 1)])
def test_new_actions_are_ranked_by_their_features(is_tuned: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    known, new = made(20, "known", generator), made(40, "new", generator)
    examples = examples_of(experiences(known, 600, generator), ARCHITECTURE, (0.0, 1.0))
    networks = Networks.seeded(ARCHITECTURE, 0)
    if is_tuned:
        networks = fine_tune(networks, examples, LearningSettings(max_steps=200), 0, lambda *_: None).networks
    networks = networks.frozen()
    statistics = add_examples(networks, empty_statistics(ARCHITECTURE), examples, lambda: None)
    policy = Policy(ARCHITECTURE, networks.q_network, statistics)
    assert spearmanr(expected(networks, policy, new), [worth(one) for one in new])[0] > 0.7


def test_an_identity_that_no_example_showed_says_nothing_to_the_networks() -> None:
    generator = np.random.default_rng(0)
    examples = examples_of(experiences(made(5, "known", generator), 100, generator), ARCHITECTURE, (0.0, 1.0))
    tuned = fine_tune(Networks.seeded(ARCHITECTURE, 0), examples, LearningSettings(max_steps=20), 0, lambda *_: None)
    actions = tuned.networks.encoder.actions
    assert actions is not None
    ids = [[action_features(Action(name))] for name in ("new", "other", "known0")]
    new, other, known = (actions(collate_bags(of)) for of in ids)
    assert torch.equal(new, other)
    assert not torch.equal(new, known)
