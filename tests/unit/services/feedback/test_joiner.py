"""The joiner's rules, one by one, through log and database."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from services.feedback.joiner import MOST_DUE, LogLostError
from shared.db.decisions import list_experiences
from shared.db.engine import read_session
from shared.db.offsets import FencedError, read_offsets
from shared.db.tables import DanglingActivationRow
from shared.domain import Experience
from shared.eventlog import MAX_RECORD_BYTES, Record
from shared.events import (
    DEAD_LETTERS,
    DECISIONS,
    EXPERIENCES,
    FEEDBACK,
    ModelPublished,
    decision_record,
    event_from_record,
    model_record,
)
from tests.unit.services.feedback.conftest import GRACE, LOOP, SECOND, START, WAIT, Bench, FakeLog, decision

TWO_METRICS = {"reward": {"metrics": {"click": {"weight": 1.0}, "dwell": {"weight": 0.5}}}}


def turns(count: int) -> list[bool]:
    """Answers of `wait` that let the joiner take so many steps."""
    return [False] * count + [True]


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


def test_no_window_closes_before_all_feedback_in_the_log_was_read(bench: Bench) -> None:
    bench.batch = 2
    bench.start()
    for number in range(20):
        bench.decide(f"d-{number}")
    for number in reversed(range(20)):
        bench.feed(f"d-{number}")
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.statistics().last_sequence == 20
    assert bench.statistics().share_closed_by_timeout == 0


def test_any_number_of_windows_may_end_at_once(bench: Bench) -> None:
    for number in range(MOST_DUE + 1):
        bench.decide(f"d-{number}")
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.joiner.step()
    assert bench.statistics().last_sequence == MOST_DUE
    bench.drain()
    assert bench.statistics().last_sequence == MOST_DUE + 1


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


def test_feedback_waits_for_its_decision_and_is_joined_in_order_of_receipt(bench: Bench) -> None:
    bench.feed(value=0.0, received_at=START + 2)
    bench.feed(value=1.0, received_at=START + 1)
    bench.drain()
    assert bench.counts() == {"dangling_feedback": 2}
    bench.decide()
    bench.drain()
    assert bench.reward() == 1.0
    assert bench.counts() == {"decisions": 1, "feedback": 2, "late_feedback": 1}


def test_a_repeated_feedback_id_falls_away_before_aggregation(bench: Bench) -> None:
    bench.save_loop(2, reward_aggregation="sum")
    bench.feed("other", feedback_id="same")
    bench.decide()
    bench.feed(feedback_id="f")
    bench.feed(feedback_id="f", value=5.0)
    bench.feed(feedback_id="same")
    bench.drain()
    bench.feed(feedback_id="f")
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.reward() == 1.0
    assert bench.counts() == {"decisions": 1, "feedback": 1, "dangling_feedback": 1, "duplicate_feedback": 3}


def test_the_first_decision_of_an_id_wins(bench: Bench) -> None:
    first = bench.decide()
    bench.decide()
    bench.drain()
    bench.decide()
    bench.decide(action_id="a", request_sha256=bytes(32))
    bench.drain()
    assert bench.stored().decision.action_id == first.action_id
    assert bench.counts() == {"decisions": 1, "duplicate_decisions": 2, "conflicting_decisions": 1}


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


def test_a_text_is_kept_and_counts_nothing(bench: Bench) -> None:
    bench.decide()
    bench.feed(value="a red shoe")
    bench.drain()
    assert bench.stored().feedback[0].feedback.value == "a red shoe"
    assert bench.reward() == 0.0


def test_changed_settings_act_at_once(bench: Bench) -> None:
    bench.decide("before")
    bench.drain()
    bench.save_loop(2, reward={"metrics": {"reward": {"weight": 10.0}}}, reward_wait_time="PT60S")
    bench.decide("after")
    bench.feed("before")
    bench.drain()
    assert bench.reward("before") == 10.0
    assert bench.stored("after").closes_at == START + 6 * WAIT


def test_cut_and_foreign_records_become_dead_letters_and_stall_nothing(bench: Bench) -> None:
    whole = decision_record(decision("cut", START))
    foreign = [
        replace(whole, value=whole.value[:50]),
        Record("key", b"{}", {"ce_type": b"com.example.Order"}),
        model_record(ModelPublished(*LOOP, 1, START)),
        replace(whole, value=bytes(MAX_RECORD_BYTES - replace(whole, value=b"").size)),
    ]
    bench.log.append(DECISIONS, foreign)
    bench.decide()
    bench.feed(value=float("nan"))
    bench.feed(value=1e16)
    bench.feed(received_at=-1)
    bench.feed("x" * 257)
    bench.feed(metric="")
    bench.feed()
    bench.drain()
    assert bench.reward() == 1.0
    letters = bench.dead_letters()
    assert [(topic, offset) for topic, offset, _ in letters] == [(DECISIONS, n) for n in range(4)] + [
        (FEEDBACK, n) for n in range(5)
    ]
    reasons = [reason for _, _, reason in letters]
    assert "is not a rewardloop.events.v1.DecisionMade" in reasons[0]
    assert "com.example.Order" in reasons[1]
    assert reasons[2] == f"ModelPublished does not belong in {DECISIONS}"
    assert reasons[4:7] == ["its value is nan", "its value is 1e+16", "its time is -1"]
    told = bench.log.records[DEAD_LETTERS]
    assert [one.headers["rewardloop_offset"] for one in told] == [b"0", b"1", b"2", b"3", b"0", b"1", b"2", b"3", b"4"]
    assert told[0].value == whole.value[:50]
    assert told[0].headers["ce_id"] == b"cut"
    assert told[3].value == b""
    assert all(one.size <= MAX_RECORD_BYTES for one in told)


def test_events_of_a_deleted_loop_become_dead_letters_and_its_windows_end_in_nothing(bench: Bench) -> None:
    bench.decide("before")
    bench.drain()
    bench.delete_loop()
    bench.decide("after")
    bench.feed("before")
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert [reason for _, _, reason in bench.dead_letters()] == ["its loop is not known"] * 2
    assert bench.stored("before").closes_at is None
    assert bench.reward("before") is None
    assert bench.counts() == {"decisions": 1, "dead_letters": 2}


def test_a_loop_made_anew_numbers_on(bench: Bench) -> None:
    bench.decide("old")
    bench.feed("old")
    bench.drain()
    bench.delete_loop()
    bench.wall += 1
    bench.save_loop()
    bench.decide("new")
    bench.feed("new")
    bench.drain()
    assert bench.statistics().last_sequence == bench.statistics().published_sequence == 2


def test_an_unknown_loop_is_known_as_soon_as_it_is_there(bench: Bench) -> None:
    bench.delete_loop()
    bench.decide("early")
    bench.drain()
    bench.save_loop()
    bench.decide("in time")
    bench.drain()
    assert bench.counts() == {"decisions": 1, "dead_letters": 1}


def test_a_leap_of_the_clock_closes_no_window(bench: Bench) -> None:
    bench.decide()
    bench.drain()
    bench.wall += 3600 * SECOND
    bench.drain()
    assert bench.reward() is None
    bench.wall -= 3600 * SECOND
    bench.feed()
    bench.drain()
    assert bench.reward() == 1.0


def test_a_zombie_commits_nothing(bench: Bench) -> None:
    bench.decide("first")
    bench.drain()
    zombie = bench.joiner
    bench.start()
    bench.drain()
    bench.decide("second")
    bench.feed("second")
    with pytest.raises(FencedError, match="another joiner has taken over"):
        zombie.run(lambda _: False)
    assert bench.counts() == {"decisions": 1}
    bench.drain()
    assert bench.reward("second") == 1.0


def test_a_commit_whose_answer_was_lost_is_not_repeated(bench: Bench) -> None:
    bench.drain()
    lost = iter([True])

    @event.listens_for(bench.engine, "commit")
    def lose_the_answer(connection: Connection) -> None:
        if connection.get_execution_options().get("rewardloop_writes") and next(lost, False):
            connection.exec_driver_sql("COMMIT")
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    bench.decide()
    bench.feed()
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert bench.counts() == {"decisions": 1, "feedback": 1}
    assert bench.statistics().published_sequence == 1


@pytest.mark.parametrize("commits_first", [True, False])
def test_a_take_over_whose_answer_was_lost_is_made_again(bench: Bench, commits_first: bool) -> None:
    bench.drain()
    bench.start()
    lost = iter([True])

    @event.listens_for(bench.engine, "commit")
    def lose_the_answer(connection: Connection) -> None:
        if next(lost, False):
            connection.exec_driver_sql("COMMIT" if commits_first else "ROLLBACK")
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    bench.decide()
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert bench.counts() == {"decisions": 1}


def test_the_database_may_be_away_for_a_while(bench: Bench) -> None:
    bench.decide()
    bench.feed()
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > 12

    def refuse(_: Connection) -> None:
        if len(pauses) < 10:
            raise OperationalError("BEGIN", {}, Exception("database is away"))

    event.listen(bench.engine, "begin", refuse, insert=True)
    bench.joiner.run(wait)
    assert pauses[1:10] == sorted(pauses[1:10])
    assert max(pauses) <= 5
    assert bench.reward() == 1.0


def test_experiences_reach_the_log_in_order_and_once_it_takes_them_again(bench: Bench) -> None:
    bench.log.refuses = {EXPERIENCES}
    for number in range(3):
        bench.decide(f"d-{number}")
        bench.feed(f"d-{number}", value=float(number))
        bench.drain()
    assert bench.statistics().last_sequence == 3
    assert bench.statistics().published_sequence == 0
    bench.log.refuses.clear()
    bench.passes(2 * SECOND)
    bench.drain()
    assert bench.statistics().published_sequence == 3
    events = [event_from_record(record) for record in bench.log.records[EXPERIENCES]]
    experiences = [one for one in events if isinstance(one, Experience)]
    assert [(one.sequence, one.reward) for one in experiences] == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert all(one.state is not None and one.state.tolist() == [0.5, -1.0] for one in experiences)


def test_a_new_process_publishes_what_the_last_one_left(bench: Bench) -> None:
    bench.log.refuses = {EXPERIENCES}
    bench.decide()
    bench.feed()
    bench.drain()
    bench.log.refuses.clear()
    bench.start()
    bench.drain()
    assert len(bench.log.records[EXPERIENCES]) == 1


def test_a_dead_letter_that_the_log_refuses_keeps_its_place(bench: Bench) -> None:
    bench.log.append(DECISIONS, [Record("key", b"")])
    bench.log.refuses = {DEAD_LETTERS}
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert bench.dead_letters() == []
    bench.log.refuses.clear()
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert len(bench.dead_letters()) == len(bench.log.records[DEAD_LETTERS]) == 1


def test_offsets_skip_what_retention_has_dropped(bench: Bench) -> None:
    for number in range(4):
        bench.decide(f"d-{number}")
        bench.feed(f"d-{number}")
    bench.log.trimmed = {DECISIONS: 2, FEEDBACK: 4}
    bench.drain()
    with read_session(bench.engine) as session:
        assert read_offsets(session) == {DECISIONS: {0: 4}, FEEDBACK: {0: 4}}
    assert bench.counts() == {"decisions": 2}


def test_another_log_than_the_databases_own_is_refused(bench: Bench) -> None:
    bench.decide()
    bench.drain()
    bench.log = FakeLog()
    bench.start()
    with pytest.raises(LogLostError, match="ends at 0, but was read up to 1"):
        bench.joiner.run(lambda _: False)


def test_tenants_and_loops_do_not_mix(bench: Bench) -> None:
    bench.decide("d")
    bench.feed("d", tenant="other")
    bench.feed("d", loop_id="other")
    bench.drain()
    assert bench.reward() is None
    assert bench.counts() == {"decisions": 1}
    assert len(bench.dead_letters()) == 2
