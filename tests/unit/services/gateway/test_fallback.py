"""The fallback's distribution and its draw."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.fallback import draw, fall_back, serve_baseline

SEEDS = st.integers(0, 2**64 - 1)


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), SEEDS)
def test_allowed_actions_share_and_one_of_them_is_drawn(allowed: list[bool], seed: int) -> None:
    position, probabilities = fall_back("no_model_yet", allowed, None, seed)
    assert allowed[position]
    assert probabilities.tolist() == [1 / sum(allowed) if may else 0.0 for may in allowed]


def test_the_baseline_is_certain_only_where_a_model_is_missed() -> None:
    for reason, baseline, expected in (
        ("model_unavailable", 1, [0, 1, 0]),
        ("model_unavailable", 2, [0.5, 0.5, 0]),
        ("model_unavailable", None, [0.5, 0.5, 0]),
        ("no_model_yet", 1, [0.5, 0.5, 0]),
    ):
        position, probabilities = fall_back(reason, [True, True, False], baseline, 0)  # type: ignore[arg-type]
        assert probabilities.tolist() == expected
        assert probabilities[position] > 0


@pytest.mark.parametrize(
    ("probabilities", "uniform", "position"),
    [
        ([0.25, 0.75], 0.0, 0),
        ([0.25, 0.75], 0.25, 1),
        ([0.0, 1.0], 0.0, 1),
        ([0.5, 0.5, 0.0], 1 - 2**-53, 1),
        # Rounding leaves the number beyond the total of ten tenths.
        ([0.1] * 10 + [0.0], 1 - 2**-53, 9),
    ],
)
def test_the_draw_inverts_the_distribution(probabilities: list[float], uniform: float, position: int) -> None:
    assert draw(probabilities, int(uniform * 2**53) << 11) == position


def test_draws_follow_the_distribution() -> None:
    probabilities = [0.1, 0.2, 0.7]
    step = 2**64 // 10_000
    counts = Counter(draw(probabilities, index * step) for index in range(10_000))
    assert [counts[position] / 10_000 for position in range(3)] == pytest.approx(probabilities, abs=2e-4)


@pytest.mark.parametrize(("baseline", "served"), [(2, 2), (None, 1), (0, 1)])
def test_the_baseline_is_served_for_certain_else_the_first_that_is_allowed(baseline: int | None, served: int) -> None:
    position, probabilities = serve_baseline([False, True, True], baseline)
    assert position == served
    assert probabilities.tolist() == [float(index == served) for index in range(3)]
