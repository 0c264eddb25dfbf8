"""Stalls that hit whole calls by chance alarm nobody; a version that is slow, or fails now and then, is found."""

import random
from collections.abc import Callable

from shared.evaluation.paired_seconds import PairedSeconds

ALPHA = 0.0003
Befalls = Callable[[random.Random, bool], float]


def found_after(befalls: Befalls, seed: int, of_version: int = 5, of_champion: int = 45, most: int = 300) -> int | None:
    """The second in which the version is found worse; `befalls` gives the chance of one decision in a second."""
    chance, seconds = random.Random(seed), PairedSeconds()
    for second in range(1, most + 1):
        for in_version, count in ((False, of_champion), (True, of_version)):
            rate = befalls(chance, in_version)
            for _ in range(count):
                seconds.add(second, in_version, chance.random() < rate)
        seconds.close(second + 1)
        if seconds.refuted(ALPHA):
            return second
    return None


def test_stalls_of_whole_calls_and_of_single_decisions_alarm_nobody() -> None:
    calls = [found_after(lambda chance, _: float(chance.random() < 0.05), seed) for seed in range(100)]
    single = [found_after(lambda *_: 0.02, seed) for seed in range(60)]
    assert sum(one is not None for one in calls) <= 1
    assert single == [None] * 60


def test_a_version_that_is_always_slow_is_found_within_20_seconds() -> None:
    seconds = [
        found_after(lambda chance, in_version: float(in_version or chance.random() < 0.05), s) for s in range(40)
    ]
    assert all(second is not None and second <= 20 for second in seconds)


def test_errors_in_5_of_100_decisions_are_found_within_a_minute_at_20_decisions_of_the_version_a_second() -> None:
    seconds = [
        found_after(lambda _, in_version: 0.05 * in_version, s, of_version=20, of_champion=180) for s in range(40)
    ]
    assert sum(second is not None and second <= 60 for second in seconds) == 40


def test_a_decision_that_comes_late_is_counted_and_not_judged_by() -> None:
    seconds = PairedSeconds()
    seconds.close(10)
    seconds.add(9, True, True)
    assert (seconds.count, seconds.champion_count, seconds.refuted(ALPHA)) == (1, 0, False)
