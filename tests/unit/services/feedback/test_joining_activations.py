"""Deferred decisions: their windows start when they are shown."""

from sqlalchemy import select

from shared.db.decisions import list_experiences
from shared.db.engine import read_session
from shared.db.tables import DanglingActivationRow
from tests.unit.services.feedback.conftest import GRACE, LOOP, SECOND, START, WAIT, Bench


def test_a_deferred_decisions_window_starts_when_it_is_activated(bench: Bench) -> None:
    bench.decide(deferred=True)
    bench.passes(100 * WAIT)
    bench.drain()
    assert (bench.stored().closes_at, bench.reward()) == (None, None)
    bench.activate()
    bench.activate()
    bench.drain()
    assert (bench.stored().activated_at, bench.stored().closes_at) == (bench.wall, bench.wall + WAIT)
    bench.feed()
    bench.drain()
    assert bench.reward() == 1.0
    assert bench.counts() == {"decisions": 1, "feedback": 1, "duplicate_activations": 1}


def test_an_override_is_an_experience_of_the_served_action_without_propensity(bench: Bench) -> None:
    for decision_id, served in (("same", "b"), ("other", "a")):
        bench.decide(decision_id, deferred=True)
        bench.activate(decision_id, served)
        bench.feed(decision_id)
    bench.drain()
    with read_session(bench.engine) as session:
        found = {one.experience.decision_id: one.experience for one in list_experiences(session, *LOOP)}
    assert (found["same"].action_id, found["same"].probability) == ("b", 0.75)
    assert (found["other"].action_id, found["other"].probability) == ("a", None)


def test_an_activation_waits_for_its_decision(bench: Bench) -> None:
    bench.activate(served_action_id="a")
    bench.activate(served_action_id="b")
    bench.drain()
    bench.start()
    bench.activate()
    bench.drain()
    bench.passes(SECOND)
    bench.decide(deferred=True)
    bench.drain()
    stored = bench.stored()
    assert (stored.activated_at, stored.served_action_id, stored.closes_at) == (START, "a", START + WAIT)
    assert bench.counts() == {"decisions": 1, "duplicate_activations": 2}
    with read_session(bench.engine) as session:
        assert session.scalars(select(DanglingActivationRow)).all() == []


def test_an_activation_of_a_decision_that_was_not_deferred_changes_nothing(bench: Bench) -> None:
    bench.activate("early", served_action_id="a")
    bench.drain()
    bench.decide("early")
    bench.decide("plain")
    bench.activate("plain", served_action_id="a")
    bench.drain()
    for decision_id in ("early", "plain"):
        stored = bench.stored(decision_id)
        assert (stored.activated_at, stored.served_action_id, stored.closes_at) == (None, None, START + WAIT)
    assert bench.counts() == {"decisions": 2, "duplicate_activations": 2}


def test_feedback_before_the_activation_counts_and_what_came_after_its_window_turns_late(bench: Bench) -> None:
    bench.save_loop(2, reward_aggregation="sum")
    bench.decide(deferred=True)
    bench.feed(value=2.0)
    bench.feed(value=3.0, received_at=START + WAIT + 1)
    bench.drain()
    bench.feed(value=4.0, received_at=START + WAIT + 2)
    bench.activate()
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.reward() == 2.0
    assert bench.counts() == {"decisions": 1, "feedback": 3, "late_feedback": 2}
    assert [one.late for one in bench.stored().feedback] == [False, True, True]
