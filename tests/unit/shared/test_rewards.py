"""Rewards worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import Action, Decision, Feedback, Media
from shared.functional.rewards import captioning_reward
from shared.loop_settings import LoopSettings
from shared.rewards import joined_reward, reads_decision


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


def test_a_value_that_the_metric_does_not_take_does_not_count() -> None:
    loop = settings("sum", default_reward=5.0, caption=2.0)
    assert joined_reward(loop, came("caption", "a red shoe", 1.5)) == 3.0
    assert joined_reward(loop, came("caption", "a red shoe")) == 5.0
    assert joined_reward(judged(caption={"scorer": SCORER}), came("caption", 1.0), decision()) == 0.0


SCORER = {"kind": "captioning", "alpha": 0.5, "beta": 2.0, "gamma": 4.0, "caption_feature": "words"}


def judged(**metrics: dict[str, object]) -> LoopSettings:
    return LoopSettings.model_validate(
        {"modalities": {"title": {"kind": "text"}, "photo": {"kind": "image"}}, "reward": {"metrics": metrics}}
    )


def decision(**features: str | float) -> Decision:
    """Of a title alone; "b" was drawn."""
    return Decision(
        tenant="t",
        loop_id="l",
        decision_id="d",
        decided_at=1,
        context={"title": "Red shoe"},
        actions=[Action("a cat"), Action("b", features)],
        action_id="b",
        probability=0.5,
        probabilities=np.array([0.5, 0.5]),
        seed=0,
        settings_revision=1,
        request_sha256=bytes(32),
    )


def test_a_metric_of_a_missing_modality_is_left_out_and_the_other_weights_stay() -> None:
    loop = judged(read={"weight": 2.0, "modality": "title"}, seen={"weight": 5.0, "modality": "photo"}, click={})
    feedback = [*came("read", 1.0), *came("seen", 1.0), *came("click", 0.5)]
    assert joined_reward(loop, feedback, decision()) == 2.5
    whole = replace(decision(), context={"title": "Red shoe", "photo": Media("image/png", "0" * 64)})
    assert joined_reward(loop, feedback, whole) == 7.5


def test_texts_are_references_of_the_served_actions_caption() -> None:
    loop = judged(caption={"weight": 3.0, "scorer": SCORER}, click={})
    references = ["a cat on a mat", "one cat"]
    feedback = [*came("caption", *references), *came("click", 1.0)]
    told = joined_reward(loop, feedback, decision(words="the cat is on the mat"))
    assert told == pytest.approx(1.0 + 3.0 * captioning_reward("the cat is on the mat", references, 0.5, 2.0, 4.0))
    for served in (None, "a cat"):
        by_id = joined_reward(loop, feedback, decision(words=1.0, caption="not this"), served)
        assert by_id == pytest.approx(1.0 + 3.0 * captioning_reward(served or "b", references, 0.5, 2.0, 4.0))


def test_a_reference_without_words_scores_and_raises_nothing() -> None:
    assert joined_reward(judged(caption={"scorer": SCORER}), came("caption", "!?"), decision(words="a b")) == -4.0


def test_only_these_rewards_read_the_decision() -> None:
    assert not reads_decision(judged(click={}).reward)
    assert reads_decision(judged(click={"modality": "photo"}).reward)
    assert reads_decision(judged(click={}, caption={"scorer": SCORER}).reward)


def test_the_range_follows_the_scorers_unless_it_is_given() -> None:
    assert judged(click={}).reward.range == (0.0, 1.0)
    assert judged(click={"weight": 2.0}, caption={"weight": 2.0, "scorer": SCORER}).reward.range == (-8.0, 7.0)
    assert judged(cost={"weight": -2.0}, caption={"weight": -1.0, "scorer": SCORER}).reward.range == (-4.5, 4.0)
    body = {"metrics": {"caption": {"scorer": SCORER}}, "range": [0, 1]}
    loop = LoopSettings.model_validate({"modalities": {"title": {"kind": "text"}}, "reward": body})
    assert loop.reward.range == (0.0, 1.0)


@given(st.permutations(came("click", 3.0, 2.0, 6.5, 2.5) + came("dwell", 1.0, 0.0)))
def test_only_receive_time_orders_feedback(feedback: list[Feedback]) -> None:
    assert joined_reward(settings(click=1.0, dwell=10.0), feedback) == 13.0


def test_events_of_the_same_microsecond_are_ordered_by_id() -> None:
    same = [Feedback("t", "l", name, "d", "click", value, 1) for name, value in (("b", 2.0), ("a", 1.0))]
    assert joined_reward(settings(click=1.0), same) == 1.0
