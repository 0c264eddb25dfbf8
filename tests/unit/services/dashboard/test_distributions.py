from datetime import UTC, datetime

import pytest

from services.dashboard import charts, distributions
from services.dashboard.answers import CorrelationPoint, DecisionSummary
from services.dashboard.lifecycle_answers import CurvePoint
from tests.unit.services.dashboard.fake_gateway import FakeGateway
from tests.unit.services.dashboard.test_tables import FAIRNESS

DECIDED = datetime(2026, 11, 30, tzinfo=UTC)


def decision(action_id: str, probability: float, reward: float | None = None) -> DecisionSummary:
    told = FakeGateway().decision(1) | {"action_id": action_id, "probability": probability, "reward": reward}
    return DecisionSummary.model_validate(told)


def series(options: charts.Options) -> list[list[object]]:
    found = options["series"]
    assert isinstance(found, list)
    return [one["data"] for one in found]


def test_shares_count_every_action_the_most_frequent_first() -> None:
    drawn = [decision("b", 0.5, 1.0), decision("a", 0.2), decision("b", 0.9, 0.0), decision("new", 0.1)]
    shares = distributions.action_shares(drawn, ["a", "b", "c"])
    assert [(one.action_id, one.decisions, one.share) for one in shares] == [
        ("b", 2, 0.5),
        ("a", 1, 0.25),
        ("new", 1, 0.25),
        ("c", 0, 0.0),
    ]
    assert (shares[0].mean_probability, shares[0].mean_reward) == (pytest.approx(0.7), 0.5)
    assert shares[1].mean_reward is None
    assert series(distributions.share_options(shares)) == [[0.5, 0.25, 0.25, 0.0]]


def test_the_histogram_has_a_place_for_every_probability() -> None:
    assert distributions.histogram([0.0, 0.05, 0.1, 0.55, 0.999, 1.0]) == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]


def test_exploration_goes_from_the_oldest_to_the_newest() -> None:
    newest_first = [decision("a", probability) for probability in (0.9, 0.8, 0.2, 0.1)]
    assert series(distributions.exploration_options(newest_first)) == [[[1, 0.1], [2, 0.2], [3, 0.8], [4, 0.9]]]
    many = [decision("a", 0.5)] * 500
    assert len(series(distributions.exploration_options(many))[0]) == distributions.STRETCHES


def test_without_a_decision_charts_are_empty() -> None:
    assert series(distributions.exploration_options([])) == [[]]
    assert series(distributions.propensity_options([])) == [[0] * 10]
    assert series(distributions.share_options([])) == [[]]
    assert series(distributions.training_options([])) == [[], []]
    assert series(distributions.correlation_options([])) == [[], []]


def test_segments_stand_side_by_side() -> None:
    assert series(distributions.selection_options(FAIRNESS)) == [[0.7, 0.3], [0.4, 0.35]]


def test_a_run_that_goes_on_is_drawn_as_it_was_seen_and_then_whole() -> None:
    assert series(distributions.training_options([], [(3, 0.5), (9, 0.2)])) == [[[3, 0.5], [9, 0.2]], []]
    curve = [CurvePoint(step=1, loss=0.5, learning_rate=0.01), CurvePoint(step=2, loss=0.4, learning_rate=0.005)]
    assert series(distributions.training_options(curve, [(1, 0.9)])) == [[[1, 0.5], [2, 0.4]], [[1, 0.01], [2, 0.005]]]


def test_correlation_is_drawn_beside_chance() -> None:
    history = [CorrelationPoint(sequence=60, correlation=0.1, permuted=None)]
    assert series(distributions.correlation_options(history)) == [[[60, 0.1]], [[60, None]]]
