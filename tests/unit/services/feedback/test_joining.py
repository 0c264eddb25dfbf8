"""When windows close, and with which reward."""

import numpy as np
import pytest

from shared.db.decisions import list_experiences
from shared.db.engine import read_session
from shared.domain import Action, Experience, Media
from shared.functional.rewards import captioning_reward
from tests.unit.services.feedback.conftest import GRACE, LOOP, SECOND, START, WAIT, Bench

TWO_METRICS = {"reward": {"metrics": {"click": {"weight": 1.0}, "dwell": {"weight": 0.5}}}}


def test_the_first_feedback_closes_a_loop_of_one_metric(bench: Bench) -> None:
    bench.decide()
    bench.passes(3 * SECOND)
    bench.feed(value=0.5)
    bench.drain()
    stored = bench.stored()
    assert stored.experience is not None
    assert stored.experience.experience == Experience(
        *LOOP, 1, "d", START, "b", probability=0.75, reward=0.5, model_version=3
    )
    assert (stored.experience.closed_at, stored.experience.closed_by) == (START + 3 * SECOND, "feedback")
    assert stored.closes_at is None
    assert bench.counts() == {"decisions": 1, "feedback": 1}


def test_several_metrics_close_when_all_have_come(bench: Bench) -> None:
    bench.save_loop(2, **TWO_METRICS, close_on_first_feedback=True)
    bench.decide()
    bench.feed(metric="click")
    bench.drain()
    assert bench.reward() is None
    bench.feed(metric="dwell", value=4.0)
    bench.drain()
    assert bench.reward() == 3.0


def test_other_loops_wait_for_the_end_of_the_window(bench: Bench) -> None:
    bench.save_loop(2, **TWO_METRICS, reward_aggregation="sum")
    bench.decide()
    for _ in range(3):
        bench.feed(metric="click")
    bench.feed(metric="dwell", value=4.0)
    bench.passes(WAIT + GRACE)
    bench.drain()
    assert bench.reward() is None
    bench.passes(1)
    bench.drain()
    assert bench.reward() == 5.0
    experience = bench.stored().experience
    assert experience is not None
    assert (experience.closed_at, experience.closed_by) == (START + WAIT, "timeout")


def test_a_decision_without_feedback_gets_the_default_reward_at_the_end(bench: Bench) -> None:
    bench.save_loop(2, default_reward=-0.25)
    bench.decide()
    bench.drain()
    assert bench.stored().closes_at == START + WAIT
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.reward() == -0.25


def test_late_feedback_is_kept_and_changes_nothing(bench: Bench) -> None:
    bench.decide()
    bench.feed(value=1.0)
    bench.feed(value=0.0)
    bench.drain()
    assert bench.reward() == 1.0
    assert [(one.feedback.value, one.late) for one in bench.stored().feedback] == [(1.0, False), (0.0, True)]
    assert bench.counts() == {"decisions": 1, "feedback": 2, "late_feedback": 1}


def test_feedback_from_after_the_window_is_late_even_where_it_was_read_before_the_close(bench: Bench) -> None:
    bench.decide()
    bench.passes(WAIT)
    bench.feed(received_at=START + WAIT + 1)
    bench.drain()
    assert bench.reward() is None
    assert bench.counts()["late_feedback"] == 1
    bench.feed(received_at=START + WAIT, value=0.5)
    bench.drain()
    assert bench.reward() == 0.5


def test_statistics_are_those_of_the_rows(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    for number in range(130):
        bench.decide(f"d-{number}", model_version=int(rng.integers(1, 3)) if number > 20 else None)
        if number % 10:
            bench.feed(f"d-{number}", value=float(rng.normal()))
        if number % 40 == 0:
            bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    found = bench.statistics()
    with read_session(bench.engine) as session:
        rows = [(one.experience, one.closed_by) for one in list_experiences(session, *LOOP, limit=200)]
    assert found.last_sequence == len(rows) == 130
    for version in (None, 1, 2):
        rewards = np.array([one.reward for one, _ in rows if one.model_version == version])
        (reward,) = [one.reward for one in found.versions if one.model_version == version]
        half = 1.959964 * rewards.std(ddof=1) / np.sqrt(len(rewards))
        assert reward.experiences == len(rewards)
        assert reward.interval == pytest.approx((rewards.mean() - half, rewards.mean() + half))
    assert found.share_closed_by_timeout == sum(closed_by == "timeout" for _, closed_by in rows) / 130 == 0.1


def test_a_text_for_a_metric_without_a_scorer_is_kept_and_does_not_count(bench: Bench) -> None:
    bench.decide()
    bench.feed(value="a red shoe")
    bench.drain()
    assert bench.stored().feedback[0].feedback.value == "a red shoe"
    assert bench.reward() is None
    bench.feed(value=0.5)
    bench.drain()
    assert bench.reward() == 0.5


CAPTIONS = {"reward": {"metrics": {"caption": {"scorer": {"kind": "captioning"}}}}}


def shown(caption: str) -> list[Action]:
    """The drawn action "b" says something; "a" says little."""
    return [Action("a", {"caption": "shoe"}), Action("b", {"caption": caption})]


def test_a_text_closes_the_window_of_a_scored_metric(bench: Bench) -> None:
    bench.save_loop(2, **CAPTIONS)
    bench.decide(actions=shown("a red shoe on white"))
    bench.feed(metric="caption", value=1.0)
    bench.drain()
    assert bench.reward() is None
    bench.feed(metric="caption", value="a red shoe")
    bench.drain()
    assert bench.reward() == captioning_reward("a red shoe on white", ["a red shoe"], 1.0, 0.5, 0.5)


def test_texts_of_one_window_are_several_references(bench: Bench) -> None:
    bench.save_loop(2, **CAPTIONS, close_on_first_feedback=False)
    bench.decide(actions=shown("a red shoe"), deferred=True)
    bench.activate(served_action_id="a")
    bench.drain()
    bench.start()
    references = ["one shoe in red", "a shoe"]
    for reference in references:
        bench.passes(1)
        bench.feed(metric="caption", value=reference)
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    # Of the action that was served, not of the one that was drawn.
    assert bench.reward() == captioning_reward("shoe", references, 1.0, 0.5, 0.5)


def test_a_metric_waits_only_where_its_modality_was_there(bench: Bench) -> None:
    metrics = {"click": {"weight": 1.0}, "likeness": {"weight": 10.0, "modality": "photo"}}
    modalities = {"title": {"kind": "text"}, "photo": {"kind": "image"}}
    bench.save_loop(2, modalities=modalities, reward={"metrics": metrics}, close_on_first_feedback=True)
    bench.decide("bare")
    bench.decide("whole", context={"title": "Red shoe", "photo": Media("image/png", "0" * 64)})
    bench.drain()
    bench.start()
    for decision_id in ("bare", "whole"):
        bench.feed(decision_id, metric="click", value=1.0)
    bench.drain()
    assert (bench.reward("bare"), bench.reward("whole")) == (1.0, None)
    bench.feed("whole", metric="likeness", value=0.5)
    bench.drain()
    assert bench.reward("whole") == 6.0


def test_a_decision_that_no_metric_can_judge_gets_the_default_reward(bench: Bench) -> None:
    bench.save_loop(
        2,
        modalities={"title": {"kind": "text"}, "photo": {"kind": "image"}},
        reward={"metrics": {"likeness": {"modality": "photo"}}},
        default_reward=0.25,
    )
    bench.decide(deferred=True)
    bench.feed(metric="likeness", value=1.0)
    bench.activate()
    bench.drain()
    assert bench.reward() is None
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.reward() == 0.25
