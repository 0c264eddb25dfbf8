"""Simulated arms with known truth: what is worse is found, what is alike is let be."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from shared.evaluation.arm_comparison import ArmComparison
from shared.evaluation.confidence_sequences import mixture_scale, normal_mixture_boundary
from tests.simulator import World, simulate_rollouts
from tests.unit.shared.evaluation.arms import Arms, Outcome, judge, roll_out


def courses(arms: Arms, seeds: range, most: int) -> tuple[Counter[str], list[Outcome]]:
    outcomes = [roll_out(arms, seed, most) for seed in seeds]
    return Counter(outcome.course for outcome in outcomes), outcomes


def test_the_boundary_is_the_mixtures_own() -> None:
    """The one-sided normal mixture ∫ exp(λ s - λ² v / 2) dΦ(λ) over λ > 0 is at least 1/α on the boundary."""
    scale, alpha = mixture_scale(200.0, 0.001), 0.001
    for time in (20.0, 200.0, 2000.0):
        s = normal_mixture_boundary(time, alpha, scale)
        mixture = 2 * math.sqrt(scale / (time + scale)) * math.exp(s * s / (2 * (time + scale)))
        mixture *= stats.norm.cdf(s / math.sqrt(time + scale))
        assert mixture >= 1 / alpha
        # A closed form: hardly further out than where the mixture is 1/α.
        assert mixture <= 2.2 / alpha


def test_the_difference_is_that_of_the_means() -> None:
    comparison = ArmComparison()
    rows = list(zip(range(20_000), Arms(0.3, 0.4, steps=(0.5,)).draw(3), strict=False))
    for _, row in rows:
        comparison.add(*row)
    version = [row[0] for _, row in rows if row[1]]
    champion = [row[0] for _, row in rows if not row[1]]
    found = comparison.difference(0.05, 0.05)
    assert (found.mean, found.champion_mean) == (np.mean(version), np.mean(champion))
    welch = stats.ttest_ind(version, champion, equal_var=False)
    error = (np.mean(version) - np.mean(champion)) / welch.statistic
    assert found.difference == pytest.approx(np.mean(version) - np.mean(champion), abs=0.1 * error)
    # Wider than an interval for one look, by less than three times.
    half = stats.norm.ppf(0.95) * error
    assert half < found.upper - found.difference < 3 * half


def test_a_canary_30_percent_worse_is_rolled_back_within_500_of_its_decisions() -> None:
    found, outcomes = courses(Arms(0.5, 0.35), range(100), 12_000)
    assert found["rolled_back"] == 100
    assert max(outcome.of_version for outcome in outcomes) <= 500


def test_a_version_20_percent_better_is_promoted_within_20_000_decisions() -> None:
    found, _ = courses(Arms(0.5, 0.6, (0.1, 0.25, 0.5), step_decisions=2000), range(100), 20_000)
    assert found["promoted"] >= 95


@pytest.mark.parametrize(
    "arms",
    [
        Arms(0.5, 0.5, (0.1, 0.25, 0.5)),
        Arms(0.005, 0.005, (0.1, 0.5)),
        Arms(0.995, 0.995, (0.1, 0.5)),
        Arms(0.4, 0.4, (0.1, 0.5), drift=lambda number: 0.3 * math.sin(number / 700)),
        Arms(0.5, 0.5, (0.2,), cluster=20, spread=0.4),
    ],
    ids=["even", "rare", "rarely not", "drifting", "clustered"],
)
def test_versions_that_are_alike_are_not_rolled_back(arms: Arms) -> None:
    found, _ = courses(arms, range(40), 3000)
    assert found["rolled_back"] <= 1


@pytest.mark.long
@pytest.mark.parametrize("arms", [Arms(0.5, 0.5, (0.1, 0.25, 0.5)), Arms(0.5, 0.5, (0.2,), cluster=20, spread=0.4)])
def test_of_200_rollouts_of_alike_versions_at_most_two_are_rolled_back(arms: Arms) -> None:
    found, _ = courses(arms, range(1000, 1200), 20_000)
    assert found["rolled_back"] <= 2


@pytest.mark.long
@pytest.mark.parametrize(
    "arms",
    [Arms(rate, rate, (share,)) for rate in (0.02, 0.9, 0.98, 0.995) for share in (0.02, 0.1)]
    + [Arms(0.9, 0.9, (0.1,), cluster=20, spread=0.1)],
    ids=lambda arms: f"{arms.champion}, a share of {arms.steps[0]}, clusters of {arms.cluster}",
)
def test_of_500_rollouts_with_skewed_rewards_hardly_any_is_rolled_back(arms: Arms) -> None:
    """α of rewards is .0015."""
    found, _ = courses(arms, range(50_000, 50_500), 3000)
    assert found["rolled_back"] <= 3


LEARNING = World((0.35, 0.5), contexts=2)
STEPS = (0.1, 0.25, 0.5)


def learned_courses(rollouts: int, most: int, seed: int, lift: float = 0.0) -> tuple[Counter[str], list[Outcome]]:
    """Both arms learn while they are compared; base reward about .47."""
    found = simulate_rollouts(LEARNING, most, np.random.default_rng(seed), rollouts, STEPS, 2000, lift)
    outcomes = [judge(found.rows(one), 4000, most) for one in range(rollouts)]
    return Counter(outcome.course for outcome in outcomes), outcomes


def test_versions_that_are_alike_and_learn_meanwhile_are_not_rolled_back() -> None:
    found, _ = learned_courses(40, 3000, seed=1)
    assert found["rolled_back"] <= 1


def test_a_version_that_earns_more_and_learns_meanwhile_is_promoted() -> None:
    found, _ = learned_courses(20, 8000, seed=2, lift=0.2)
    assert found["promoted"] >= 19


@pytest.mark.long
def test_of_200_rollouts_whose_arms_learn_at_most_two_are_rolled_back() -> None:
    found, _ = learned_courses(200, 20_000, seed=3)
    assert found["rolled_back"] <= 2


@pytest.mark.long
def test_of_100_rollouts_of_a_better_version_whose_arms_learn_95_promote_it() -> None:
    found, outcomes = learned_courses(100, 20_000, seed=4, lift=0.2)
    assert found["promoted"] >= 95
    assert max(outcome.decisions for outcome in outcomes) <= 20_000


def test_decisions_of_one_subject_are_one_cluster() -> None:
    """A subject's fifty decisions tell less than those of fifty subjects: by the design effect, 1 + 49 ICC."""
    arms, together, apart = Arms(0.5, 0.5, (0.2,), cluster=50, spread=0.45), ArmComparison(), ArmComparison()
    for _, row in zip(range(20_000), arms.draw(1), strict=False):
        together.add(*row)
        apart.add(*row[:3])
    widths = [(found.upper - found.difference) for found in (one.difference(0.05, 0.05) for one in (together, apart))]
    correlation = (0.9**2 / 12) / 0.25
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(1 + 49 * correlation), rel=0.25)


def test_without_a_decision_in_each_arm_nothing_is_sure() -> None:
    comparison = ArmComparison()
    comparison.add(1.0, False, 0.1)
    found = comparison.difference(0.05, 0.001)
    assert (found.lower, found.upper) == (-math.inf, math.inf)
