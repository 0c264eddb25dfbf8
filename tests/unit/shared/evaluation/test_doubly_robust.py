import csv
import gzip
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import Doubles
from shared.evaluation.doubly_robust import (
    LoggedChoices,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    one_sided_bounds,
    supported,
)

CAMPAIGN = "men"
POSITIONS = 3


def open_bandit_log(folder: Path) -> tuple[LoggedChoices, Doubles]:
    """Uniform log of a fashion shop, one row a click or not, and the target's probabilities on it."""
    with (folder / f"pi_bts_freq_{CAMPAIGN}.csv").open() as file:
        frequencies = np.array([[float(row[f"pos{p + 1}"]) for p in range(POSITIONS)] for row in csv.DictReader(file)])
    with gzip.open(folder / "random" / CAMPAIGN / f"{CAMPAIGN}.csv.gz", "rt") as file:
        rows = [
            (int(row["item_id"]), int(row["position"]) - 1, float(row["click"]), float(row["propensity_score"]))
            for row in csv.DictReader(file)
        ]
    items, positions, clicks, propensities = map(np.array, zip(*rows, strict=True))
    probabilities = np.repeat(propensities[:, None], len(frequencies), axis=1)
    return LoggedChoices(items, probabilities, clicks), frequencies.T[positions]


def test_with_estimates_of_zero_it_is_the_published_inverse_propensity_score(shared_data: Path) -> None:
    logged, target = open_bandit_log(shared_data / "obd")
    value = doubly_robust(logged, target, np.zeros_like(target)).mean()
    assert value == pytest.approx(0.005656, abs=5e-7)
    assert effective_sample_size(importance_weights(logged, target)) == pytest.approx(2869, abs=0.5)


@given(
    logging=st.lists(st.floats(0.05, 1), min_size=3, max_size=3),
    target=st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda p: sum(p) > 0.01),
    rewards=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    estimates=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_its_expectation_is_the_true_value_whatever_the_estimates(
    logging: list[float], target: list[float], rewards: list[float], estimates: list[float]
) -> None:
    p, pi, r = np.array(logging) / sum(logging), np.array(target) / sum(target), np.array(rewards)
    every = LoggedChoices(np.arange(3), np.tile(p, (3, 1)), r)
    values = doubly_robust(every, np.tile(pi, (3, 1)), np.tile(estimates, (3, 1)))
    assert p @ values == pytest.approx(pi @ r, abs=1e-9)


def test_true_estimates_leave_no_variance() -> None:
    rewards = np.array([0.1, 0.5, 0.9])
    logged = LoggedChoices(np.array([0, 1, 2]), np.full((3, 3), 1 / 3), rewards)
    target = np.tile([0.2, 0.3, 0.5], (3, 1))
    assert doubly_robust(logged, target, np.tile(rewards, (3, 1))) == pytest.approx(np.full(3, 0.62))


def test_a_row_is_unsupported_by_what_could_have_been_drawn_not_by_what_was() -> None:
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    logged = LoggedChoices(np.array([0, 0, 1]), probabilities, np.zeros(3))
    target = np.array([[0.9, 0.1], [1.0, 0.0], [0.0, 1.0]])
    assert supported(logged, target).tolist() == [False, True, True]


@pytest.mark.parametrize(("weights", "size"), [([1, 1, 1, 1], 4.0), ([4, 0, 0, 0], 1.0), ([0, 0], 0.0), ([], 0.0)])
def test_effective_sample_size_counts_rows_that_carry_weight(weights: list[float], size: float) -> None:
    assert effective_sample_size(np.array(weights, float)) == pytest.approx(size)


def test_bounds_hold_the_mean_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    below = [one_sided_bounds(generator.normal(size=200)) for _ in range(1000)]
    # 3σ of a binomial proportion of .95 over 1,000.
    assert np.mean([bounds.lower < 0 for bounds in below]) == pytest.approx(0.95, abs=0.021)
    assert np.mean([bounds.upper > 0 for bounds in below]) == pytest.approx(0.95, abs=0.021)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_values_bound_nothing(count: int) -> None:
    bounds = one_sided_bounds(np.ones(count))
    assert (bounds.lower, bounds.upper) == (-math.inf, math.inf)


def test_rows_are_chosen_together() -> None:
    logged = LoggedChoices(np.arange(4), np.eye(4), np.arange(4.0))
    chosen = logged.where(np.array([False, True, False, True]))
    expected = list(product([1], [1.0])) + list(product([3], [3.0]))
    assert list(zip(chosen.taken, chosen.rewards, strict=True)) == expected
    assert chosen.probabilities.shape == (2, 4)
