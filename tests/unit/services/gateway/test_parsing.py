"""JSON in, checked values out."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from services.gateway.parsing import MAX_DEPTH, parse_json, validated
from services.gateway.problems import Problem, ProblemType

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_what_json_writes_is_read_as_json_reads_it(value: object) -> None:
    raw = json.dumps(value).encode()
    assert parse_json(raw) == json.loads(raw)


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), st.data())
def test_a_key_that_stands_twice_is_found_at_any_depth(members: dict[str, object], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(members)))
    doubled = orjson.dumps(members)[:-1] + b"," + orjson.dumps({key: 1})[1:]
    for raw in (doubled, b'{"a:b": [{"x": ' + doubled + b"}]}"):
        with pytest.raises(Problem) as caught:
            parse_json(raw)
        assert caught.value.kind is ProblemType.INVALID_JSON


def test_nesting_is_bounded() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(Problem):
        parse_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


class Inner(BaseModel):
    price: int | bool


class Outer(BaseModel):
    rows: list[Inner]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "rows"),
        ({"rows": 1}, "rows"),
        ({"rows": [{"price": 1}, {}]}, "rows.1.price"),
        # A union's members are steps of the validator, not of the body.
        ({"rows": [{"price": "x"}]}, "rows.0.price"),
        ([], None),
    ],
)
def test_the_field_at_fault_is_a_path_of_the_body(value: object, field: str | None) -> None:
    with pytest.raises(Problem) as caught:
        validated(Outer, value)
    assert caught.value.field == field
