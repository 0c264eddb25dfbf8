from collections.abc import Sequence

import pytest
import torch

from shared.loop_settings import ExplorationSettings
from shared.networks.parts import build_q_network, empty_statistics
from shared.networks.policy import Candidates, CandidateScores, Policy, distribution
from tests.unit.shared.networks.conftest import architecture_of

STRATEGIES = ["thompson", "ucb", "squarecb", "epsilon_greedy", "boltzmann"]
ROWS = [["a", "b", "c"], ["c"], ["b", "new", "a", "newer"]]
STATE = architecture_of().state_width
ENCODED = architecture_of().encoded_width
STATES = torch.randn(3, STATE, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.randn(8, ENCODED, generator=torch.Generator().manual_seed(1))


def candidates(rows: Sequence[Sequence[str]] = ROWS, excluded: Sequence[Sequence[int]] = ((), (), ())) -> Candidates:
    return Candidates.of(rows, excluded)


def policy(*, features: bool = False, experienced: bool = True) -> Policy:
    architecture = architecture_of(features=features)
    q_network, statistics = build_q_network(architecture), empty_statistics(architecture)
    if experienced:
        inputs = torch.randn(200, STATE + ENCODED * features, generator=torch.Generator().manual_seed(2))
        phi = q_network.train()(inputs).features.detach()
        slots = torch.zeros(200, dtype=torch.int64) if features else torch.arange(200) % 3
        statistics = statistics.add(phi, slots, (phi[:, 0] > 0).double() * (slots + 1) / 3, torch.ones(200))
    return Policy(architecture, q_network, statistics)


@pytest.mark.parametrize("features", [False, True])
def test_rows_of_a_ragged_batch_are_scored_as_if_alone(features: bool) -> None:
    scored = policy(features=features)
    together = scored.score(STATES, candidates(), ACTIONS if features else None)
    first = 0
    for row, ids in enumerate(ROWS):
        actions = ACTIONS[first : first + len(ids)] if features else None
        alone = scored.score(STATES[row : row + 1], candidates([ids], [()]), actions)
        torch.testing.assert_close(
            together.expected_reward[row, : len(ids)], alone.expected_reward[0], atol=1e-12, rtol=0
        )
        torch.testing.assert_close(together.variance[row, : len(ids)], alone.variance[0], atol=1e-12, rtol=0)
        first += len(ids)


def test_an_action_has_its_own_score_wherever_it_stands() -> None:
    states = STATES[:1].expand(2, -1)
    scores = policy().score(states, candidates([["a", "b", "c"], ["c", "b", "a"]], [(), ()]), None)
    torch.testing.assert_close(scores.expected_reward[0], scores.expected_reward[1].flip(0))
    assert len(set(scores.expected_reward[0].tolist())) == 3


def test_unknown_actions_are_alike_and_less_certain_than_known_ones() -> None:
    scores = policy().score(STATES, candidates(), None)
    row = 2
    for column in (scores.expected_reward, scores.variance, scores.outcome_variance):
        assert column[row, 1] == column[row, 3]
    assert scores.variance[row, 1] > scores.variance[row, [0, 2]].max()
    assert (scores.outcome_variance[row] > scores.variance[row]).all()


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_experience_the_distribution_is_uniform_over_the_allowed(features: bool, strategy: str) -> None:
    drawn_from = candidates(excluded=((1,), (), (0, 3)))
    scores = policy(features=features, experienced=False).score(STATES, drawn_from, ACTIONS if features else None)
    exploration = ExplorationSettings.model_validate({"strategy": strategy})
    probabilities = distribution(scores, drawn_from.allowed, exploration, (0.0, 1.0))
    expected = drawn_from.allowed / drawn_from.allowed.sum(1, keepdim=True).double()
    torch.testing.assert_close(probabilities, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_prefers_what_is_better_and_keeps_the_floor(strategy: str) -> None:
    mean = torch.tensor([[0.2, 0.8, 0.5, 0.9]], dtype=torch.float64)
    scores = CandidateScores(mean, torch.full_like(mean, 0.01), torch.full_like(mean, 0.2))
    allowed = torch.tensor([[True, True, True, False]])
    exploration = ExplorationSettings.model_validate({"strategy": strategy, "floor": 0.03})
    probabilities = distribution(scores, allowed, exploration, (0.0, 1.0))[0]
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert probabilities[3] == 0
    assert probabilities[:3].min() >= 0.01 - 1e-12
    assert probabilities.argmax() == 1


def test_exploration_settings_change_the_distribution() -> None:
    mean = torch.tensor([[0.2, 0.8, 0.5]], dtype=torch.float64)
    scores, allowed = CandidateScores(mean, mean / 10, mean), torch.ones(1, 3, dtype=torch.bool)

    def best(**settings: object) -> float:
        exploration = ExplorationSettings.model_validate(settings)
        return float(distribution(scores, allowed, exploration, (0.0, 1.0)).max())

    assert best(strategy="epsilon_greedy", epsilon=0.3, floor=0) == pytest.approx(0.8)
    assert best(strategy="epsilon_greedy", epsilon=0.9, floor=0) == pytest.approx(0.4)
    assert best(strategy="thompson", scale=0.1, floor=0) > best(strategy="thompson", scale=1.0, floor=0)
    assert best(strategy="squarecb", gamma=1000) > best(strategy="squarecb", gamma=10)
    assert best(strategy="boltzmann", temperature=0.05) > best(strategy="boltzmann", temperature=1.0)
    assert best(strategy="thompson", floor=0.0) > best(strategy="thompson", floor=0.5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_larger_rewards_with_their_range_give_the_same_distribution(strategy: str) -> None:
    standardised, allowed = policy().score(STATES, candidates(), None), candidates().allowed
    exploration = ExplorationSettings.model_validate({"strategy": strategy})
    expected = distribution(standardised, allowed, exploration, (0.0, 1.0))
    low, high = -2000.0, 3000.0
    scaled = distribution(standardised.in_range(low, high), allowed, exploration, (low, high))
    torch.testing.assert_close(scaled, expected, atol=1e-9, rtol=0)


def test_refuses_candidates_that_cannot_be_drawn_from() -> None:
    with pytest.raises(ValueError, match="no rows"):
        candidates([], [])
    with pytest.raises(ValueError, match="no action"):
        candidates([["a"], []], [(), ()])
    with pytest.raises(ValueError, match="no action"):
        candidates([["a", "b"]], [(0, 1)])
    for position in (-1, 2):
        with pytest.raises(ValueError, match="outside of row 0"):
            candidates([["a", "b"]], [(position,)])


@pytest.mark.parametrize("features", [False, True])
def test_a_million_action_ids_take_no_more_memory_than_one(features: bool) -> None:
    """Twenty thousand here: what is kept does not grow with any of them."""
    learned, width = policy(features=features, experienced=False), STATES.shape[1]
    sizes = [tensor.shape for tensor in learned._statistics.tensors().values()]
    for first in range(0, 20_000, 5000):
        ids = [f"seen-once-{number}" for number in range(first, first + 5000)]
        rewards, times = torch.full((5000,), 0.5), torch.zeros(5000, dtype=torch.int64)
        encoded = torch.ones(5000, ENCODED) if features else None
        learned = learned.learned(torch.ones(5000, width), ids, encoded, rewards, times)
    assert [tensor.shape for tensor in learned._statistics.tensors().values()] == sizes
    # Where all share a slot they teach; else nobody asks for them again.
    assert float(learned._statistics.count.sum()) == (20_000 if features else 0)


def test_absurd_rewards_leave_scores_finite() -> None:
    learned = policy()
    states, rewards = torch.ones(4, STATE), torch.tensor([1e15, -1e15, 1e15, 0.5], dtype=torch.float64)
    learned = learned.learned(states, ["a", "b", "c", "a"], None, rewards, torch.zeros(4, dtype=torch.int64))
    scores = learned.score(STATES, candidates(), None)
    for column in (scores.expected_reward, scores.variance, scores.outcome_variance):
        assert column[candidates().present].isfinite().all()
    probabilities = distribution(scores, candidates().allowed, ExplorationSettings(), (0.0, 1.0))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3, dtype=torch.float64))
