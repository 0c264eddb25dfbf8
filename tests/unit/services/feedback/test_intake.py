"""Whatever the log holds, the intake gives events that the tables can hold, and letters for the rest."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.intake import flaw, take_in
from shared.domain import Activation, Feedback
from shared.eventlog import Position, Record, StoredRecord
from shared.events import activation_record, decision_record, feedback_record
from tests.unit.services.feedback.conftest import LOOP, START, decision

DECISION = decision("d", START)
ACTIVATION = Activation(*LOOP, "d", START)
FEEDBACK = Feedback(*LOOP, "f", "d", "click", 1.0, START)
RECORDS: dict[str, Callable[[], Record]] = {
    "decision": lambda: decision_record(DECISION),
    "activation": lambda: activation_record(ACTIVATION),
    "feedback": lambda: feedback_record(FEEDBACK),
}


def stored(record: Record, offset: int = 0) -> StoredRecord:
    return StoredRecord(Position("topic", 0, offset), record, START)


@pytest.mark.parametrize("event", [DECISION, ACTIVATION, FEEDBACK, replace(FEEDBACK, value="a text", occurred_at=-5)])
def test_a_whole_event_has_no_flaw(event: Any) -> None:
    assert flaw(event) is None


@pytest.mark.parametrize("name", ["tenant", "loop_id", "decision_id", "action_id", "fallback_reason"])
@pytest.mark.parametrize("text", ["", "x" * 257, "a\0b"])
def test_a_name_that_no_column_takes_is_a_flaw(name: str, text: str) -> None:
    changed: dict[str, Any] = {name: text}
    assert flaw(replace(DECISION, **changed)) is not None


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (replace(DECISION, decided_at=0), "its time is 0"),
        (replace(DECISION, decided_at=2**62), f"its time is {2**62}"),
        (replace(DECISION, request_sha256=b""), "its request_sha256 is not a SHA-256"),
        (replace(DECISION, probability=float("nan")), "its probability is nan"),
        (replace(DECISION, probability=1.5), "its probability is 1.5"),
        (replace(DECISION, model_version=0), "its model version is 0"),
        (replace(ACTIVATION, served_action_id=""), "a name is empty, longer than 256 characters, or holds a NUL"),
        (replace(FEEDBACK, value=float("-inf")), "its value is -inf"),
        (replace(FEEDBACK, value="a\0b"), "its text holds a NUL"),
        (replace(FEEDBACK, feedback_id="x" * 257), "a name is empty, longer than 256 characters, or holds a NUL"),
    ],
)
def test_other_flaws_are_named(event: Any, problem: str) -> None:
    assert flaw(event) == problem


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_cut_anywhere_is_a_dead_letter(name: str) -> None:
    record = RECORDS[name]()
    whole = len(take_in([stored(record)]).events)
    cut = [stored(replace(record, value=record.value[:end]), end) for end in range(len(record.value))]
    intake = take_in(cut)
    assert whole == 1
    assert intake.events == []
    assert [letter.stored.position.offset for letter in intake.dead] == list(range(len(record.value)))


@given(st.lists(st.tuples(st.sampled_from(sorted(RECORDS)), st.binary(max_size=40)), max_size=5))
def test_every_record_is_an_event_or_a_dead_letter_in_order(parts: list[tuple[str, bytes]]) -> None:
    records = [stored(replace(RECORDS[name](), value=value), offset) for offset, (name, value) in enumerate(parts)]
    intake = take_in(records)
    events = [one.position.offset for _, one in intake.events]
    dead = [letter.stored.position.offset for letter in intake.dead]
    assert (sorted(events), sorted(dead)) == (events, dead)
    assert sorted(events + dead) == list(range(len(records)))
