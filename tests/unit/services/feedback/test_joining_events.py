"""Events that come early, twice, cut, or for a loop that is not there."""

from dataclasses import replace

from sqlalchemy import select

from shared.db.engine import read_session
from shared.db.tables import DeadLetterRow
from shared.eventlog import MAX_RECORD_BYTES, Record
from shared.eventlog.envelopes import unpacked
from shared.events import (
    DEAD_LETTERS,
    DECISIONS,
    FEEDBACK,
    ModelPublished,
    decision_record,
    model_record,
)
from tests.unit.services.feedback.conftest import GRACE, LOOP, START, WAIT, Bench, decision


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
    # The key says whose it is, where the event cannot.
    with read_session(bench.engine) as session:
        rows = session.scalars(select(DeadLetterRow).where(DeadLetterRow.topic == DECISIONS)).all()
        kept = {row.offset: (row.tenant, unpacked(row.envelope, row.payload)) for row in rows}
    assert kept == dict(enumerate(zip((LOOP[0], None, None, LOOP[0]), foreign, strict=True)))
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


def test_tenants_and_loops_do_not_mix(bench: Bench) -> None:
    bench.decide("d")
    bench.feed("d", tenant="other")
    bench.feed("d", loop_id="other")
    bench.drain()
    assert bench.reward() is None
    assert bench.counts() == {"decisions": 1}
    assert len(bench.dead_letters()) == 2
