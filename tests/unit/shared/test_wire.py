"""Every domain object survives the wire, and a message that breaks its contract is a WireError, nothing else."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared import domain, wire
from shared.pb.context.v1 import context_pb2
from shared.pb.events.v1 import events_pb2
from shared.pb.tensor.v1 import tensor_pb2

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**62)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False)
TABLES = st.dictionaries(TEXT, st.one_of(NUMBERS, TEXT, st.booleans()), max_size=4)
FLOATS = hnp.arrays(np.float32, st.integers(0, 5))
DOUBLES = hnp.arrays(np.float64, 3)
MEDIA = st.builds(domain.Media, TEXT, TEXT, st.none() | st.binary(max_size=20))
ACTIONS = st.lists(st.builds(domain.Action, TEXT, st.none() | TABLES), max_size=3)
SCORES = st.builds(domain.Scores, DOUBLES, DOUBLES, DOUBLES, st.none() | DOUBLES)
NAMES = st.lists(TEXT, max_size=3)
DECISIONS = st.builds(
    domain.Decision,
    tenant=TEXT,
    loop_id=TEXT,
    decision_id=TEXT,
    decided_at=TIMES,
    context=st.dictionaries(TEXT, st.one_of(TEXT, MEDIA, TABLES, FLOATS), max_size=4),
    actions=ACTIONS,
    action_id=TEXT,
    probability=NUMBERS,
    probabilities=DOUBLES,
    seed=st.integers(0, 2**64 - 1),
    settings_revision=INT64,
    request_sha256=st.binary(max_size=32),
    model_version=st.none() | INT64,
    head_sequence=INT64,
    state=st.none() | FLOATS,
    scores=st.none() | SCORES,
    fallback_reason=st.none() | TEXT,
    modalities_used=NAMES,
    modalities_missing=NAMES,
    excluded_action_ids=NAMES,
    baseline_action_id=st.none() | TEXT,
    episode_id=st.none() | TEXT,
    previous_decision_id=st.none() | TEXT,
    subject_id=st.none() | TEXT,
    deferred=st.booleans(),
    modality_importance=st.none() | st.dictionaries(TEXT, NUMBERS, min_size=1, max_size=3),
)
ACTIVATIONS = st.builds(domain.Activation, TEXT, TEXT, TEXT, TIMES, st.none() | TEXT)
FEEDBACK = st.builds(domain.Feedback, TEXT, TEXT, TEXT, TEXT, TEXT, NUMBERS | TEXT, TIMES, st.none() | TIMES)
EXPERIENCES = st.builds(
    domain.Experience,
    TEXT,
    TEXT,
    INT64,
    TEXT,
    TIMES,
    TEXT,
    st.none() | NUMBERS,
    NUMBERS,
    st.none() | INT64,
    st.none() | FLOATS,
)
TENSORS = st.sampled_from(sorted(wire.DTYPES)).flatmap(
    lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


def assert_same(found: object, expected: object) -> None:
    """Equal to the bit, arrays and their types included."""
    if isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, strict=True)
    elif is_dataclass(expected):
        assert type(found) is type(expected)
        for part in fields(expected):
            assert_same(getattr(found, part.name), getattr(expected, part.name))
    elif isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert (type(found), found) == (type(expected), expected)


@given(TENSORS)
def test_tensors_come_back_with_type_shape_and_every_bit(array: np.ndarray) -> None:
    message = tensor_pb2.Tensor.FromString(wire.tensor_to_pb(array).SerializeToString())
    assert_same(wire.tensor_from_pb(message, array.dtype.name, array.ndim), array)


@given(hnp.arrays(np.float64, (3, 4)))
def test_the_wire_is_little_endian_in_c_order_however_an_array_lies_in_memory(array: np.ndarray) -> None:
    message = wire.tensor_to_pb(array.T)
    assert list(message.shape) == [4, 3]
    assert message.data == array.T.astype("<f8").tobytes(order="C")
    assert wire.tensor_to_pb(array.astype(">f8")) == wire.tensor_to_pb(array)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (tensor_pb2.Tensor(), "tensor is absent"),
        (tensor_pb2.Tensor(dtype="float32", shape=[1], data=bytes(4)), "tensor is float32, expected float64"),
        (tensor_pb2.Tensor(dtype="float64", shape=[1, 1], data=bytes(8)), "expected 1 dimensions"),
        (tensor_pb2.Tensor(dtype="float64", shape=[2], data=bytes(15)), "holds 15 bytes"),
        (tensor_pb2.Tensor(dtype="float64", shape=[-1]), "shape"),
        (tensor_pb2.Tensor(dtype="float64", shape=[2**62]), "holds 0 bytes"),
    ],
)
def test_a_tensor_that_is_not_what_was_promised_is_refused(message: tensor_pb2.Tensor, problem: str) -> None:
    with pytest.raises(wire.WireError, match=problem):
        wire.doubles_from_pb(message)


@pytest.mark.parametrize("shape", [(2**32, 2**32), (0, 2**62)])
def test_a_shape_that_no_array_can_have_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(wire.WireError, match="shape"):
        wire.doubles_from_pb(tensor_pb2.Tensor(dtype="float64", shape=shape), 2)


def test_a_type_that_the_contract_does_not_name_is_not_sent() -> None:
    with pytest.raises(wire.WireError, match="complex64"):
        wire.tensor_to_pb(np.zeros(1, np.complex64))


@settings(max_examples=50)
@given(DECISIONS)
def test_decisions(decision: domain.Decision) -> None:
    message = events_pb2.DecisionMade.FromString(wire.decision_to_pb(decision).SerializeToString())
    assert_same(wire.decision_from_pb(message), decision)
    known = [replace(action, logged=wire.logged_action(action)) for action in decision.actions]
    for written in (wire.decision_bytes(decision), wire.decision_bytes(replace(decision, actions=known))):
        assert events_pb2.DecisionMade.FromString(written) == message


@given(ACTIVATIONS)
def test_activations(activation: domain.Activation) -> None:
    message = wire.activation_to_pb(activation).SerializeToString()
    assert_same(wire.activation_from_pb(events_pb2.DecisionActivated.FromString(message)), activation)


@given(FEEDBACK)
def test_feedback(feedback: domain.Feedback) -> None:
    message = wire.feedback_to_pb(feedback).SerializeToString()
    assert_same(wire.feedback_from_pb(events_pb2.FeedbackReceived.FromString(message)), feedback)


@given(EXPERIENCES)
def test_experiences(experience: domain.Experience) -> None:
    message = wire.experience_to_pb(experience).SerializeToString()
    assert_same(wire.experience_from_pb(events_pb2.ExperienceJoined.FromString(message)), experience)


@given(TEXT, TEXT, INT64)
def test_model_refs(tenant: str, loop_id: str, version: int) -> None:
    ref = domain.ModelRef(tenant, loop_id, version)
    assert wire.model_ref_from_pb(wire.model_ref_to_pb(ref)) == ref


def test_nothing_where_something_must_be_is_refused() -> None:
    empty = context_pb2.Context(values={"photo": context_pb2.ContextValue()})
    with pytest.raises(wire.WireError, match="context value is empty"):
        wire.context_from_pb(empty)
    with pytest.raises(wire.WireError, match="field has no value"):
        wire.table_from_pb(context_pb2.Table(fields={"age": context_pb2.Field()}))


@settings(max_examples=20)
@given(DECISIONS.map(lambda decision: replace(decision, scores=None)))
def test_a_decision_without_scores_has_none_and_half_of_them_is_refused(decision: domain.Decision) -> None:
    message = wire.decision_to_pb(decision)
    assert wire.decision_from_pb(message).scores is None
    message.expected_rewards.CopyFrom(wire.tensor_to_pb(np.zeros(3)))
    with pytest.raises(wire.WireError, match="tensor is absent"):
        wire.decision_from_pb(message)
