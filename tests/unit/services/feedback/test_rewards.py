"""Rewards worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.rewards import joined_reward
from shared.domain import Feedback
from shared.loop_settings import LoopSettings


def settings(aggregation: str = "earliest", default_reward: float = 0.0, **weights: float) -> LoopSettings:
    return LoopSettings.model_validate(
        {
            "modalities": {"title": {"kind": "text"}},
            "reward": {"metrics": {metric: {"weight": weight} for metric, weight in weights.items()}},
            "reward_aggregation": aggregation,
            "default_reward": default_reward,
        }
    )


def came(metric: str, *values: float | str) -> list[Feedback]:
    """Values in order of receive time, a second apart."""
    return [Feedback("t", "l", f"{metric}-{at}", "d", metric, value, at * 1_000_000) for at, value in enumerate(values)]


@pytest.mark.parametrize(
    ("aggregation", "reward"),
    [("earliest", 3.0), ("sum", 14.0), ("average", 3.5), ("median", 2.75), ("min", 2.0), ("max", 6.5)],
)
def test_repeated_values_of_a_metric_are_aggregated(aggregation: str, reward: float) -> None:
    assert joined_reward(settings(aggregation, click=1.0), came("click", 3.0, 2.0, 6.5, 2.5)) == reward


def test_metrics_are_weighted_and_those_that_did_not_come_count_nothing() -> None:
    loop = settings(default_reward=9.0, click=1.0, dwell=0.2, complaint=-3.0)
    assert joined_reward(loop, [*came("click", 1.0), *came("dwell", 5.0)]) == pytest.approx(2.0)
    assert joined_reward(loop, came("complaint", 1.0)) == -3.0


def test_the_default_reward_stands_in_only_where_nothing_came() -> None:
    loop = settings(default_reward=0.25, click=1.0)
    assert joined_reward(loop, []) == 0.25
    assert joined_reward(loop, came("scroll", 1.0)) == 0.25
    assert joined_reward(loop, came("click", 0.0)) == 0.0


def test_a_text_counts_nothing() -> None:
    assert joined_reward(settings("sum", default_reward=5.0, caption=2.0), came("caption", "a red shoe", 1.5)) == 3.0


@given(st.permutations(came("click", 3.0, 2.0, 6.5, 2.5) + came("dwell", 1.0, 0.0)))
def test_only_receive_time_orders_feedback(feedback: list[Feedback]) -> None:
    assert joined_reward(settings(click=1.0, dwell=10.0), feedback) == 13.0


def test_events_of_the_same_microsecond_are_ordered_by_id() -> None:
    same = [Feedback("t", "l", name, "d", "click", value, 1) for name, value in (("b", 2.0), ("a", 1.0))]
    assert joined_reward(settings(click=1.0), same) == 1.0
