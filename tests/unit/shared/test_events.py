"""Events as records: the envelope that other software reads, and what becomes of records that are cut or foreign."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given
from hypothesis import strategies as st

from shared import events
from shared.domain import Action, Activation, Decision, Experience, Feedback
from shared.eventlog import Record
from shared.wire import WireError

NOON = 1_764_072_000_123_456
DECISION = Decision(
    tenant="acme",
    loop_id="news",
    decision_id="d-1",
    decided_at=NOON,
    context={"title": "Red shoe", "user": {"age": 31.0, "member": True, "town": "Ulm"}, "vector": np.ones(3, "f4")},
    actions=[Action("a", {"price": 10.0}), Action("b")],
    action_id="b",
    probability=0.75,
    probabilities=np.array([0.25, 0.75]),
    seed=2**64 - 1,
    settings_revision=3,
    request_sha256=bytes(range(32)),
    state=np.arange(4, dtype=np.float32),
)
EVENTS: dict[str, tuple[events.Event, Callable[[], Record], str, str]] = {
    "DecisionMade": (DECISION, lambda: events.decision_record(DECISION), "d-1", "acme/news/d-1"),
    "DecisionActivated": (
        activation := Activation("acme", "news", "d-1", NOON, "a"),
        lambda: events.activation_record(activation),
        "d-1/activation",
        "acme/news/d-1",
    ),
    "FeedbackReceived": (
        feedback := Feedback("acme", "news", "f-1", "d-1", "click", 1.0, NOON),
        lambda: events.feedback_record(feedback),
        "f-1",
        "acme/news/d-1",
    ),
    "ExperienceJoined": (
        experience := Experience("acme", "news", 7, "d-1", 5, "b", 0.75, 1.0, 2),
        lambda: events.experience_record(experience, NOON),
        "acme/news/7",
        "acme/news",
    ),
    "ModelPublished": (
        published := events.ModelPublished("acme", "news", 4, NOON),
        lambda: events.model_record(published),
        "acme/news/4",
        "acme/news",
    ),
}
NAMES = sorted(EVENTS)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_comes_back_from_its_record(name: str) -> None:
    event, record, _, _ = EVENTS[name]
    found = events.event_from_record(record())
    # Arrays have no plain equality: the same record again means the same event.
    if isinstance(found, Decision):
        assert events.decision_record(found) == record()
    else:
        assert found == event


@pytest.mark.parametrize("name", NAMES)
def test_the_envelope_is_a_cloud_event(name: str) -> None:
    _, make, event_id, key = EVENTS[name]
    record = make()
    envelope = from_binary_event(KafkaMessage(dict(record.headers), record.key.encode(), record.value))
    assert record.key == key
    assert envelope.get_id() == event_id
    assert envelope.get_type() == f"rewardloop.events.v1.{name}"
    assert envelope.get_source().startswith("/rewardloop/")
    assert envelope.get_datacontenttype() == "application/protobuf"
    assert envelope.get_time() == datetime(2025, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_the_same_whenever_it_is_made(name: str) -> None:
    assert EVENTS[name][1]() == EVENTS[name][1]()


@pytest.mark.parametrize("name", NAMES)
def test_a_record_cut_anywhere_is_an_error_of_the_wire_or_a_whole_message(name: str) -> None:
    record = EVENTS[name][1]()
    refused = 0
    for end in range(len(record.value)):
        try:
            events.event_from_record(replace(record, value=record.value[:end]))
        except WireError:
            refused += 1
    # Only a cut between two fields can pass for a whole message.
    assert refused > len(record.value) // 2


@given(st.sampled_from(NAMES), st.binary(max_size=60))
def test_any_bytes_are_an_event_or_an_error_of_the_wire(name: str, value: bytes) -> None:
    with suppress(WireError):
        assert isinstance(events.event_from_record(replace(EVENTS[name][1](), value=value)), type(EVENTS[name][0]))


@pytest.mark.parametrize("headers", [{}, {"ce_type": b"com.example.Order"}, {"ce_type": b"\xff\xfe"}])
def test_a_foreign_record_is_named(headers: dict[str, bytes]) -> None:
    with pytest.raises(WireError, match=r"event type is .*, expected one of rewardloop\.events\.v1\.Decision"):
        events.event_from_record(Record("key", b"{}", headers))


@pytest.mark.parametrize("time", [None, b"", b"yesterday", b"\xff"])
def test_a_publication_without_its_time_is_refused(time: bytes | None) -> None:
    record = EVENTS["ModelPublished"][1]()
    headers = {name: value for name, value in record.headers.items() if name != "ce_time"}
    with pytest.raises(WireError, match="time of the event is"):
        events.event_from_record(replace(record, headers=headers if time is None else headers | {"ce_time": time}))
