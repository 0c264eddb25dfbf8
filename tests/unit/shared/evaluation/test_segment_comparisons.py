"""Segments of known truth: one that is worse off is found among many that are not, and alike ones are let be."""

import random

from shared.evaluation.rollout_verdict import SEGMENT_ALPHA
from shared.evaluation.segment_comparisons import MOST_SEGMENTS, SegmentComparisons

SHARE = 0.5


def simulate(seed: int, count: int, worse: str | None = None, segments: int = 10) -> tuple[SegmentComparisons, int]:
    """Comparisons after so many decisions, and after how many a segment was first surely worse off; 0: never."""
    chance, found = random.Random(seed), SegmentComparisons()
    for number in range(1, count + 1):
        segment, in_version = f"s{chance.randrange(segments)}", chance.random() < SHARE
        rate = 0.35 if in_version and segment == worse else 0.5
        found.add(segment, float(chance.random() < rate), in_version, SHARE)
        if number % 50 == 0:
            worst = found.worst(SEGMENT_ALPHA)
            if worst is not None and worst[1].upper < 0:
                return found, number
    return found, 0


def test_a_segment_that_is_worse_off_is_named() -> None:
    found, number = simulate(1, 40_000, worse="s7")
    worst = found.worst(SEGMENT_ALPHA)
    assert worst is not None
    assert (worst[0], 0 < number < 40_000) == ("s7", True)
    assert worst[1].mean < worst[1].champion_mean


def test_segments_that_are_alike_are_let_be_however_often_one_looks() -> None:
    assert sum(simulate(seed, 4000)[1] > 0 for seed in range(100, 140)) == 0


def test_the_first_segments_have_the_largest_shares_of_alpha_and_too_many_are_not_kept() -> None:
    assert sum(1 / (place * (place + 1)) for place in range(1, MOST_SEGMENTS + 1)) < 1
    found, _ = simulate(1, 2000, segments=100)
    assert len(found) == MOST_SEGMENTS


def test_without_segments_there_is_no_worst() -> None:
    assert SegmentComparisons().worst(SEGMENT_ALPHA) is None
