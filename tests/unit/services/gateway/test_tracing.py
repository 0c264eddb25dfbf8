"""A request's trace in the gateway: its caller's, behind a key, and what it gives to the services and to the log."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.gateway.app import create_app
from services.gateway.parts import assemble
from services.gateway.settings import GatewaySettings
from shared.events import DECISIONS, FEEDBACK
from shared.tracing import METADATA_KEY
from shared.tracing.recording import Recorder
from tests.unit.services.gateway.fakes import Gateway

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
LOOP = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
ASKED = {"context": {"title": "Red shoe"}}


class Traced:
    """A gateway over fakes that records, by ratio 0."""

    def __init__(self, gateway: Gateway, home: Path) -> None:
        self._exporter = InMemorySpanExporter()
        self._recorder = Recorder("gateway", self._exporter, 0.0)
        self.metadata: list[str] = []
        encode = gateway.ports.rpcs.encode

        def told(request: object, *, timeout: float, metadata: object = None) -> object:
            self.metadata.append(dict(metadata or ()).get(METADATA_KEY, ""))  # type: ignore[call-overload] # pairs
            return encode(request, timeout=timeout)  # type: ignore[arg-type] # the stub's request

        rpcs = replace(gateway.ports.rpcs, encode=told)
        ports = replace(gateway.ports, tracing=self._recorder, rpcs=rpcs)
        parts = assemble(ports, GatewaySettings(home=home, first_version_timeout=0))
        parts.directory.refresh()
        self.gateway = replace(gateway, ports=ports, parts=parts, app=create_app(parts))

    def spans(self) -> list[ReadableSpan]:
        self._recorder.flush()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
async def traced(make_gateway: Callable[..., Gateway], tmp_path: Path) -> Traced:
    traced = Traced(make_gateway(), tmp_path)
    async with traced.gateway.client() as http:
        (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
    await traced.gateway.publish("shoes", 1)
    return traced


async def test_a_decision_s_place_is_in_the_log_and_its_spans_go_to_the_services(traced: Traced) -> None:
    async with traced.gateway.client() as http:
        answer = (await http.post("/v1/loops/shoes/decisions", json=ASKED, headers=CALLER)).raise_for_status().json()
    spans = {span.name: span for span in traced.spans()}
    assert set(spans) == {
        "POST /v1/loops/{loop_id}/decisions",
        "decide",
        "call encoding",
        "call fusion",
        "call policy",
        "append rewardloop.decisions",
    }
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    place = f"00-{TRACE}-{spans['decide'].context.span_id:016x}-01"
    (record,) = traced.gateway.log.topics[DECISIONS]
    assert record.headers["ce_traceparent"].decode() == place
    assert traced.metadata == [f"00-{TRACE}-{spans['call encoding'].context.span_id:016x}-01"]
    assert (spans["decide"].attributes or {})["rewardloop.decision_id"] == answer["decision_id"]
    assert "Red shoe" not in "".join(span.to_json() for span in spans.values())


async def test_rows_of_a_batch_share_the_request_s_trace(traced: Traced) -> None:
    async with traced.gateway.client() as http:
        batch = {"decisions": [ASKED] * 3}
        (await http.post("/v1/loops/shoes/decisions:batch", json=batch, headers=CALLER)).raise_for_status()
    decided = [span for span in traced.spans() if span.name == "decide"]
    assert len(decided) == 3
    assert len({span.parent.span_id for span in decided if span.parent}) == 1
    assert sum(len(told.split(",")) for told in traced.metadata) == 3


async def test_feedback_carries_its_own_request_s_place(traced: Traced) -> None:
    event = {"decision_id": "d", "metric": "reward", "value": 1}
    async with traced.gateway.client() as http:
        (await http.post("/v1/loops/shoes/feedback", json=event, headers=CALLER)).raise_for_status()
    (record,) = traced.gateway.log.topics[FEEDBACK]
    assert record.headers["ce_traceparent"].decode().split("-")[1] == TRACE


async def test_without_a_caller_s_trace_the_ratio_decides(traced: Traced) -> None:
    async with traced.gateway.client() as http:
        (await http.post("/v1/loops/shoes/decisions", json=ASKED)).raise_for_status()
    assert traced.spans() == []
    assert "ce_traceparent" not in traced.gateway.log.topics[DECISIONS][0].headers


async def test_who_has_no_key_fills_no_collector(traced: Traced) -> None:
    async with traced.gateway.client("") as http:
        answer = await http.post("/v1/loops/shoes/decisions", json=ASKED, headers=CALLER)
    assert answer.status_code == 401
    assert traced.spans() == []
