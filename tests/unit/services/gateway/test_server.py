"""The public API over gRPC, by a real client: the same answers, events and problems as over HTTP."""

import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import trustme
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.gateway.server import SERVICE, start_server
from shared.domain import Decision, Feedback
from shared.events import DECISIONS, FEEDBACK
from shared.grpc import MutualTls
from shared.pb.context.v1.context_pb2 import Action, Field, Table
from shared.pb.decision.v1 import decision_pb2
from shared.pb.decision.v1.decision_pb2_grpc import DecisionServiceStub
from tests.unit.services.gateway.fakes import Gateway

Stub = DecisionServiceStub


@pytest.fixture
async def channel(gateway: Gateway, http: httpx.AsyncClient) -> AsyncIterator[grpc.aio.Channel]:
    """To a gateway that has the loop `shoes`."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'socket'}"
        server = await start_server(gateway.parts, address)
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
        await server.stop(None)


def key_of(gateway: Gateway) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {gateway.manage_key}"),)


def asked(loop_id: str = "shoes", **members: object) -> decision_pb2.DecideRequest:
    request = decision_pb2.DecisionRequest(**members)  # type: ignore[arg-type] # by name
    return decision_pb2.DecideRequest(loop_id=loop_id, decision=request)


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str, str]:
    """Status, problem and field of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    details = dict(raised.value.trailing_metadata())["problem-bin"]
    assert isinstance(details, bytes)
    problem = decision_pb2.Problem.FromString(details)
    assert raised.value.details() == f"{problem.title}: {problem.detail}"
    return raised.value.code(), problem.type.removeprefix("urn:rewardloop:problem:"), problem.field


async def test_a_decision_is_that_of_http(gateway: Gateway, http: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
    await gateway.publish("shoes", 1)
    vector = np.array([1, 2, 3], np.float32)
    user = Table(fields={"age": Field(number=31), "country": Field(category="NL"), "new": Field(flag=True)})
    request = asked(
        decision_id="d-1",
        context={
            "title": decision_pb2.Value(text="Red shoe"),
            "user": decision_pb2.Value(table=user),
            "vector": decision_pb2.Value(embedding=vector.tobytes()),
        },
        actions=[Action(id="a", features=Table(fields={"price": Field(number=10)})), Action(id="b")],
        excluded_action_ids=["b"],
        subject_id="u-17",
        explain=True,
    )
    answer = await Stub(channel).Decide(request, metadata=key_of(gateway))
    body = {
        "decision_id": "d-1",
        "context": {
            "title": "Red shoe",
            "user": {"age": 31, "country": "NL", "new": True},
            "vector": vector.tolist(),
        },
        "actions": [{"id": "a", "features": {"price": 10}}, {"id": "b"}],
        "excluded_action_ids": ["b"],
        "subject_id": "u-17",
        "explain": True,
    }
    over_http = (await http.post("/v1/loops/shoes/decisions", json=body)).raise_for_status().json()
    assert answer.decision == json_format.ParseDict(over_http, decision_pb2.Decision())
    assert (answer.decision.action_id, answer.decision.model_version) == ("a", "1")
    assert answer.decision.modality_importance["vector"] > 0
    (logged,) = [event for event in gateway.log.events(DECISIONS) if isinstance(event, Decision)]
    assert (logged.decision_id, logged.subject_id) == ("d-1", "u-17")


async def test_rows_of_a_batch_fail_alone(gateway: Gateway, channel: grpc.aio.Channel) -> None:
    rows = [
        decision_pb2.DecisionRequest(),
        decision_pb2.DecisionRequest(context={"smell": decision_pb2.Value(text="x")}),
        decision_pb2.DecisionRequest(baseline_action_id="c"),
    ]
    batch = decision_pb2.DecideBatchRequest(loop_id="shoes", decisions=rows)
    first, second, third = (await Stub(channel).DecideBatch(batch, metadata=key_of(gateway))).rows
    assert [row.decision.fallback_reason for row in (first, third)] == ["no_model_yet"] * 2
    assert second.problem.field == "context.smell"
    empty = decision_pb2.DecideBatchRequest(loop_id="shoes")
    code, kind, field = await refused(Stub(channel).DecideBatch(empty, metadata=key_of(gateway)))
    assert (code, kind, field) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-field", "decisions")


async def test_feedback_is_taken_whole_or_not(gateway: Gateway, channel: grpc.aio.Channel) -> None:
    events = [
        decision_pb2.Feedback(decision_id="d-1", feedback_id="f-1", metric="click", number=1),
        decision_pb2.Feedback(
            decision_id="d-1", metric="caption", text="a red shoe", occurred_at="2025-11-23T12:00:00Z"
        ),
    ]
    request = decision_pb2.SendFeedbackRequest(loop_id="shoes", events=events)
    answer = await Stub(channel).SendFeedback(request, metadata=key_of(gateway))
    assert (answer.accepted, answer.feedback_ids[0]) == (2, "f-1")
    logged = [event for event in gateway.log.events(FEEDBACK) if isinstance(event, Feedback)]
    assert [event.value for event in logged] == [1.0, "a red shoe"]
    request.events.append(decision_pb2.Feedback(decision_id="d-1", metric="smell", number=1))
    code, kind, field = await refused(Stub(channel).SendFeedback(request, metadata=key_of(gateway)))
    assert (code, kind, field) == (grpc.StatusCode.INVALID_ARGUMENT, "unknown-metric", "2.metric")
    assert len(gateway.log.events(FEEDBACK)) == 2


async def test_problems_become_statuses(gateway: Gateway, channel: grpc.aio.Channel) -> None:
    stub, manage = Stub(channel), key_of(gateway)
    feedback_only = (("authorization", f"Bearer {gateway.add_key('feedback')}"),)
    stranger = (("authorization", f"Bearer {gateway.add_key('decide', tenant='other')}"),)
    nothing = decision_pb2.Value()
    endless = decision_pb2.Value(table=Table(fields={"age": Field(number=float("nan"))}))
    assert await refused(stub.Decide(asked())) == (grpc.StatusCode.UNAUTHENTICATED, "no-key", "")
    unknown = (("authorization", "Bearer nobody"),)
    assert (await refused(stub.Decide(asked(), metadata=unknown)))[:2] == (
        grpc.StatusCode.UNAUTHENTICATED,
        "unknown-key",
    )
    denied = await refused(stub.Decide(asked(), metadata=feedback_only))
    assert denied[:2] == (grpc.StatusCode.PERMISSION_DENIED, "role-not-allowed")
    for call in (stub.Decide(asked("boots"), metadata=manage), stub.Decide(asked(), metadata=stranger)):
        assert await refused(call) == (grpc.StatusCode.NOT_FOUND, "unknown-loop", "loop_id")
    for value, field in ((nothing, "context.user"), (endless, "context.user.age")):
        call = stub.Decide(asked(context={"user": value}), metadata=manage)
        assert await refused(call) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-field", field)
    await stub.Decide(asked(decision_id="d-1"), metadata=manage)
    again = await refused(stub.Decide(asked(decision_id="d-1", subject_id="u"), metadata=manage))
    assert again == (grpc.StatusCode.ALREADY_EXISTS, "decision-conflict", "decision_id")


async def test_it_tells_that_it_serves(channel: grpc.aio.Channel) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_it_shows_a_certificate_and_asks_for_none(gateway: Gateway) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    tls = MutualTls(certificate, issued.private_key_pem.bytes(), authority.cert_pem.bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    server = await start_server(gateway.parts, address, tls)
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with grpc.aio.secure_channel(address, trusted) as channel:
        assert (await refused(Stub(channel).Decide(asked(), timeout=10)))[1] == "no-key"
    await server.stop(None)
