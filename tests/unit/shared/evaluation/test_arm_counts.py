"""Counts over arms: too many are found soon, and by chance hardly ever."""

import math
import random

import pytest
from scipy import stats

from shared.evaluation.arm_counts import DrawTest, ShareTest


def looks(rate_in_version: float, share: float, seed: int, most: int) -> int | None:
    """After how many counts the shares were refuted at .0003; None: never."""
    chance, test = random.Random(seed), ShareTest(one_sided=True)
    for number in range(1, most + 1):
        test.add(chance.random() < rate_in_version, share)
        if test.refuted(0.0003):
            return number
    return None


def test_by_chance_it_is_hardly_ever_refuted() -> None:
    for share in (0.1, 0.5):
        assert sum(looks(share, share, seed, 500) is not None for seed in range(200)) <= 1


def test_errors_of_the_version_alone_are_found_after_a_few() -> None:
    assert looks(1.0, 0.1, 0, 100) is not None
    assert (looks(1.0, 0.1, 0, 100) or 0) <= 6
    # Three times as many as the champion's.
    found = [looks(0.25, 0.1, seed, 2000) for seed in range(20)]
    assert all(number is not None and number < 400 for number in found)


def test_fewer_than_expected_refute_only_a_two_sided_test() -> None:
    one, two = ShareTest(one_sided=True), ShareTest()
    for _ in range(100):
        one.add(False, 0.5)
        two.add(False, 0.5)
    assert (one.refuted(0.001), two.refuted(0.001)) == (False, True)
    assert (two.count, two.expected, two.total) == (0, 50, 100)


def test_looking_at_any_time_costs_little_evidence() -> None:
    """Against scipy's binomial test of a number of counts that was fixed beforehand."""
    test = ShareTest(one_sided=True)
    for number in range(60):
        test.add(number % 3 == 0, 0.1)
    strength = -math.log(stats.binomtest(20, 60, 0.1, alternative="greater").pvalue)
    assert 0.5 * strength < test.log_evidence < strength


@pytest.mark.parametrize(("follows", "refuted"), [(True, False), (False, True)])
def test_draws_are_held_against_their_probabilities(follows: bool, refuted: bool) -> None:
    chance, test = random.Random(5), DrawTest()
    for _ in range(2000):
        probability = chance.uniform(0.4, 0.95)
        test.add(chance.random() < (probability if follows else probability**2), probability)
    assert test.refuted(0.001) is refuted
