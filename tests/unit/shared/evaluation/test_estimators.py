"""Each estimator against a loop over rows that is written from its paper, and against figures made by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from shared.domain import Doubles
from shared.evaluation.doubly_robust import LoggedChoices
from shared.evaluation.estimators import (
    ESTIMATORS,
    EstimatorName,
    estimate_all,
    possible_weight,
    replay,
    switch_dr,
    value_bounds,
)
from shared.evaluation.expected_rewards import progressive_means
from shared.evaluation.intervals import (
    bernstein_interval,
    bootstrap_interval,
    clusters_of,
    normal_interval,
    standard_error,
)


def random_log(count: int = 40, actions: int = 3, seed: int = 1) -> tuple[LoggedChoices, Doubles, Doubles]:
    generator = np.random.default_rng(seed)
    logged, target = generator.dirichlet(np.ones(actions), (2, count))
    taken = np.array([generator.choice(actions, p=row) for row in logged])
    return LoggedChoices(taken, logged, generator.random(count)), target, generator.random((count, actions))


def by_rows(name: EstimatorName, log: tuple[LoggedChoices, Doubles, Doubles], clip: float) -> float:
    """The estimate, row after row."""
    logged, target, estimates = log
    above, below = 0.0, 0.0
    for row, action in enumerate(logged.taken):
        reward, raw = logged.rewards[row], target[row, action] / logged.probabilities[row, action]
        weight = min(raw, clip)
        direct = sum(p * q for p, q in zip(target[row], estimates[row], strict=True))
        residual = reward - estimates[row, action]
        threshold = min(clip, math.sqrt(len(logged.taken)))
        part = {
            "ips": (weight * reward, 1.0),
            "snips": (weight * reward, weight),
            "dm": (direct, 1.0),
            "dr": (direct + weight * residual, 1.0),
            "switch_dr": (direct + (raw * residual if raw <= threshold else 0.0), 1.0),
            "replay": (target[row, action] * reward, target[row, action]),
        }[name]
        above, below = above + part[0], below + part[1]
    return above / below


@pytest.mark.parametrize("clip", [math.inf, 1.5])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_it_is_what_its_paper_says(name: EstimatorName, clip: float) -> None:
    log = random_log()
    (found,) = estimate_all([name], *log, clip).values()
    assert found.value == pytest.approx(by_rows(name, log, clip), rel=1e-12)


def test_by_hand() -> None:
    logged = LoggedChoices(np.array([0, 1]), np.array([[0.5, 0.5], [0.8, 0.2]]), np.array([1.0, 1.0]))
    target, estimates = np.array([[1.0, 0.0], [0.4, 0.6]]), np.full((2, 2), 0.5)
    values = {name: one.value for name, one in estimate_all(ESTIMATORS, logged, target, estimates).items()}
    # Weights 2 and 3; √2 lies below both.
    assert values == pytest.approx({"ips": 2.5, "snips": 1.0, "dm": 0.5, "dr": 1.75, "switch_dr": 0.5, "replay": 1.0})


def test_switching_never_is_doubly_robust_and_at_once_the_estimates_alone() -> None:
    log = random_log()
    found = estimate_all(["dm", "dr"], *log)
    assert switch_dr(*log, math.inf).value == pytest.approx(found["dr"].value)
    assert switch_dr(*log, 0.0).value == pytest.approx(found["dm"].value)


def test_replay_of_a_certain_target_is_the_mean_of_the_rows_that_match() -> None:
    logged, _, _ = random_log()
    always = np.tile([0.0, 1.0, 0.0], (len(logged.taken), 1))
    assert replay(logged, always).value == pytest.approx(logged.rewards[logged.taken == 1].mean())


@pytest.mark.parametrize("name", ["ips", "dm", "dr", "switch_dr"])
def test_no_row_of_a_mean_lies_beyond_its_bounds(name: EstimatorName) -> None:
    logged, target, estimates = random_log(2000)
    (found,) = estimate_all([name], logged, target, estimates).values()
    bounds = value_bounds(name, (0.0, 1.0), possible_weight(logged, target))
    assert bounds is not None
    assert bounds[0] <= found.numerators.min() <= found.numerators.max() <= bounds[1]


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_are_those_of_scipy(name: EstimatorName) -> None:
    log = random_log(400)
    (found,) = estimate_all([name], *log).values()
    rows = np.arange(400)
    expected = stats.bootstrap(
        (found.numerators, found.denominators),
        lambda above, below, axis: above.sum(axis) / below.sum(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    # Both bootstraps draw; the error's standard deviation over 4,000 resamples is about a hundredth of it.
    error = expected.standard_error
    assert standard_error(found, rows) == pytest.approx(error, rel=0.06)
    bounds = tuple(expected.confidence_interval)
    for interval in (
        bootstrap_interval(found, rows, np.random.default_rng(1), resamples=4000),
        normal_interval(found, rows),
    ):
        assert (interval.lower, interval.upper) == pytest.approx(bounds, abs=0.25 * error)


def test_the_error_of_a_mean_is_the_usual_one_and_clusters_make_it_larger() -> None:
    logged, target, estimates = random_log(300)
    found = estimate_all(["ips"], logged, target, estimates)["ips"]
    assert standard_error(found, np.arange(300)) == pytest.approx(stats.sem(found.numerators))
    twice = estimate_all(
        ["ips"],
        LoggedChoices(*(np.repeat(one, 2, axis=0) for one in (logged.taken, logged.probabilities, logged.rewards))),
        np.repeat(target, 2, axis=0),
        estimates,
    )
    assert standard_error(twice["ips"], np.repeat(np.arange(300), 2)) == pytest.approx(stats.sem(found.numerators))


def test_empirical_bernstein_by_hand() -> None:
    values = np.tile([0.0, 1.0], 500)
    interval = bernstein_interval(values, np.arange(1000), (0.0, 1.0))
    term = math.log(80)
    margin = math.sqrt(2 * (1000 / 999 / 4) * term / 1000) + 7 * term / (3 * 999)
    assert (interval.lower, interval.upper) == pytest.approx((0.5 - margin, 0.5 + margin))


def test_one_cluster_bounds_nothing() -> None:
    found = estimate_all(["ips"], *random_log())["ips"]
    together = clusters_of(np.array(["same"] * 40))
    assert math.isinf(standard_error(found, together))
    for interval in (
        normal_interval(found, together),
        bootstrap_interval(found, together, np.random.default_rng(0)),
        bernstein_interval(found.numerators, together, (0.0, 1.0)),
    ):
        assert (interval.lower, interval.upper) == (-math.inf, math.inf)


def test_expected_rewards_rest_on_rows_before_alone() -> None:
    rewards = np.array([1.0, 0.0, 1.0])
    estimates = progressive_means(["x", "x", "y"], [["a", "b"]] * 3, [0, 0, 1], rewards, first=0.5)
    assert estimates[0].tolist() == [0.5, 0.5]
    # After one reward of 1 the mean of all is (.5 + 1) / 2.
    assert estimates[1] == pytest.approx([(1 + 7.5) / 11, 0.75])
    assert estimates[2] == pytest.approx([0.5, 0.5])
    assert progressive_means(["x"] * 3, [["a", "b"]] * 3, [0, 0, 1], 1 - rewards, 0.5)[0].tolist() == [0.5, 0.5]
