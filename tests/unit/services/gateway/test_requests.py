"""Requests read from their bytes at once: those are taken that the documented body takes, with the same content."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.bodies import DecisionRequest
from services.gateway.formats import JSON, MESSAGEPACK, Format
from services.gateway.parsing import validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.requests import RequestReader
from shared.domain import Action
from shared.pb.events.v1 import events_pb2
from shared.wire import action_from_pb

WORDS = st.text(max_size=6) | st.sampled_from(["a:b", "é", "a\n", "x" * 129, "x" * 257, ""])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
CELLS = NUMBERS | st.booleans() | WORDS | st.none()
ODD = CELLS | st.lists(CELLS, max_size=2) | st.dictionaries(WORDS, CELLS, max_size=2)
VALUES = WORDS | st.lists(NUMBERS, max_size=3) | st.dictionaries(WORDS, CELLS, max_size=3) | ODD
FEATURES = st.dictionaries(WORDS, NUMBERS | st.booleans() | WORDS, max_size=3)
ACTIONS = st.fixed_dictionaries({"id": WORDS}, optional={"features": FEATURES | ODD, "other": CELLS})
REFERENCES = st.sampled_from(["d-1", "a b", "e\n", "x" * 128]) | ODD
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "decision_id": REFERENCES,
        "context": st.dictionaries(WORDS, VALUES, max_size=3) | ODD,
        "actions": st.lists(ACTIONS, max_size=3) | ODD,
        "excluded_action_ids": st.lists(WORDS, max_size=2) | ODD,
        "baseline_action_id": ODD,
        "episode_id": REFERENCES,
        "previous_decision_id": REFERENCES,
        "subject_id": ODD,
        "deferred": st.booleans() | ODD,
        "explain": st.booleans() | ODD,
        "other": CELLS,
    },
)


def fault(read: Callable[[bytes], object], raw: bytes) -> tuple[ProblemType, str | None] | None:
    """The problem of a request and the field at fault; None where it is taken."""
    try:
        read(raw)
    except Problem as problem:
        return problem.kind, problem.field
    return None


def holds_as_documented(form: Format, raw: bytes) -> None:
    """Whether it is taken, and what is found in it, is as its documented body says."""

    def documented(raw: bytes) -> DecisionRequest:
        return validated(DecisionRequest, form.parse(raw))

    reader = RequestReader(form)
    assert fault(reader.read, raw) == fault(documented, raw)
    if fault(documented, raw) is not None:
        return
    expected = documented(raw).model_dump()
    # By now its actions are known.
    found = reader.read(raw)
    actions = None if found.actions is None else [{"id": one.id, "features": one.features} for one in found.actions]
    assert (actions, list(found.excluded_action_ids)) == (expected.pop("actions"), expected.pop("excluded_action_ids"))
    assert {name: getattr(found, name) for name in expected} == expected


@given(BODIES)
def test_json_is_taken_as_documented(body: dict[str, object]) -> None:
    holds_as_documented(JSON, json.dumps(body).encode())


@given(BODIES)
def test_messagepack_is_taken_as_documented(body: dict[str, object]) -> None:
    try:
        raw = msgspec.msgpack.encode(body)
    except OverflowError:  # MessagePack has no such number
        return
    holds_as_documented(MESSAGEPACK, raw)


def test_an_action_that_came_before_is_the_same_and_was_written_once() -> None:
    reader = RequestReader()
    raw = b'{"actions": [{"id": "a", "features": {"price": 10, "new": true}}, {"id": "b"}]}'
    first, second = (reader.read(raw).actions for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[0] is second[0]
    assert first == [Action("a", {"price": 10.0, "new": True}), Action("b")]
    logged = [events_pb2.DecisionMade.FromString(action.logged or b"").actions for action in first]
    assert [action_from_pb(one) for (one,) in logged] == first


@pytest.mark.parametrize(
    "raw",
    [
        b'{"deferred": true, "deferred": true}',
        b'{"context": {}, "context": {}}',
        b'{"context": {"title": "x", "title": "y"}}',
        b'{"context": {"user": {"age": 1, "age": 2}}}',
        b'{"actions": [{"id": "a", "id": "b"}]}',
        b'{"actions": [{"id": "a", "features": {"x": 1, "x": 1}}]}',
        b'{"actions": [{"id": "a", "features": {"x": ":", "x": ":"}}]}',
        b'{"context": {"title": "a:b"}, "actions": [{"id": "a"}], "actions": [{"id": "a"}]}',
    ],
)
def test_a_key_that_stands_twice_is_refused_wherever_it_stands(raw: bytes) -> None:
    reader = RequestReader()
    for _ in range(2):
        with pytest.raises(Problem, match="same key twice"):
            reader.read(raw)


def test_rows_of_a_batch_are_left_as_they_are() -> None:
    reader = RequestReader()
    rows = [b'{"decision_id": "d:1"}', b'"nothing"', b'{"context": {"title": "a:b"}}']
    assert reader.rows_of(b'{"decisions": [' + b", ".join(rows) + b"]}") == rows
    for body in ([], {"decisions": []}, {"decisions": [{}], "more": 1}, {"decisions": [{}] * 257}):
        for form in (JSON, MESSAGEPACK):
            with pytest.raises(Problem):
                RequestReader(form).rows_of(form.write(body))
    with pytest.raises(Problem, match="same key twice"):
        reader.rows_of(b'{"decisions": [{}], "decisions": [{}]}')


def test_rows_of_a_packed_batch_are_left_as_they_are() -> None:
    rows: list[object] = [{"decision_id": "d:1"}, "nothing", {"context": {"vector": {"data": b"\0" * 12}}}]
    packed = RequestReader(MESSAGEPACK).rows_of(msgspec.msgpack.encode({"decisions": rows}))
    assert [msgspec.msgpack.decode(row) for row in packed] == rows
