"""How often an apprentice would have done what the baseline did is counted, decision by decision."""

from dataclasses import replace

import numpy as np
import pytest

from services.feedback.joining import _matches
from shared.domain import Scores
from tests.unit.services.feedback.conftest import START, Bench, decision

APPRENTICE = replace(decision("d", START), fallback_reason="apprentice", probabilities=np.array([0.0, 1.0]))


def scored(*expected: float) -> Scores:
    of = np.array(expected)
    return Scores(of, of * 0, of * 0)


@pytest.mark.parametrize(
    ("expected", "excluded", "matches"), [((0.2, 0.7), (), True), ((0.9, 0.7), (), False), ((0.9, 0.7), ("a",), True)]
)
def test_its_greedy_action_is_the_best_that_is_allowed(
    expected: tuple[float, float], excluded: tuple[str, ...], matches: bool
) -> None:
    made = replace(APPRENTICE, scores=scored(*expected), excluded_action_ids=excluded)
    assert _matches(made) is matches


def test_without_scores_or_an_apprentice_there_is_nothing_to_count() -> None:
    assert _matches(APPRENTICE) is None
    assert _matches(replace(APPRENTICE, fallback_reason="uncertain", scores=scored(0, 1))) is None


def test_counts_are_kept_with_the_others(bench: Bench) -> None:
    for index, expected in enumerate([(0.1, 0.2), (0.3, 0.2), (0.0, 0.5)]):
        bench.decide(f"d{index}", fallback_reason="apprentice", scores=scored(*expected))
    bench.drain()
    assert bench.counts() == {"decisions": 3, "apprentice_decisions": 3, "apprentice_matches": 2}
