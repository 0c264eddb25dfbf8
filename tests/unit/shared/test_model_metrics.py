"""What is told of a call over real gRPC: its seconds, its rows, and a span in each of its decisions' traces."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from shared.model_metrics import ModelMetrics, Observed, WorkingThreads
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.encoding.v1.encoding_pb2_grpc import (
    EncodingServiceServicer,
    EncodingServiceStub,
    add_EncodingServiceServicer_to_server,
)
from shared.tracing import METADATA_KEY
from shared.tracing.recording import Recorder

TRACES = ["4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"]
PLACES = [f"00-{trace}-00f067aa0ba902b7-01" for trace in TRACES]


class Servicer(EncodingServiceServicer):
    """Answers, unless it is asked for no context."""

    async def Encode(self, request: encoding_pb2.EncodeRequest, context: Any) -> encoding_pb2.EncodeResponse:  # noqa: N802
        if not request.contexts:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "none")
        return encoding_pb2.EncodeResponse()


class Serving:
    """A service that is observed, and its client."""

    def __init__(
        self, stub: EncodingServiceStub, registry: CollectorRegistry, exporter: InMemorySpanExporter, recorder: Recorder
    ) -> None:
        self.stub = stub
        self.registry = registry
        self.exporter = exporter
        self.recorder = recorder

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"rewardloop_model_{name}", {"service": "encoding"} | labels)


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    registry, exporter = CollectorRegistry(), InMemorySpanExporter()
    recorder = Recorder("encoding", exporter, 0.0)
    rows = {"Encode": lambda request: len(request.contexts)}
    observed = Observed("encoding", rows, ModelMetrics(registry), recorder)
    server = grpc.aio.server(interceptors=[observed])
    add_EncodingServiceServicer_to_server(Servicer(), server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield Serving(EncodingServiceStub(channel), registry, exporter, recorder)
    await server.stop(0)
    recorder.close()


async def test_a_call_is_a_span_in_the_trace_of_each_decision_that_it_is_for(serving: Serving) -> None:
    request = encoding_pb2.EncodeRequest(contexts=[{}] * 3)
    await serving.stub.Encode(request, metadata=((METADATA_KEY, ",".join(PLACES)),))
    await serving.stub.Encode(request)
    serving.recorder.flush()
    spans: list[Any] = list(serving.exporter.get_finished_spans())
    assert [f"{span.context.trace_id:032x}" for span in spans] == TRACES
    assert {span.name for span in spans} == {"Encode"}
    assert all(span.attributes["rewardloop.rows"] == 3 for span in spans)
    assert all(f"{span.parent.span_id:016x}" == "00f067aa0ba902b7" for span in spans)


async def test_calls_are_counted_by_how_they_end(serving: Serving) -> None:
    await serving.stub.Encode(encoding_pb2.EncodeRequest(contexts=[{}] * 3))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await serving.stub.Encode(encoding_pb2.EncodeRequest())
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert serving.value("call_seconds_count", method="Encode", outcome="answered") == 1
    assert serving.value("call_seconds_count", method="Encode", outcome="failed") == 1
    assert serving.value("call_rows_sum", method="Encode") == 3


def test_threads_count_the_time_in_which_they_work() -> None:
    registry = CollectorRegistry()
    with WorkingThreads(2, "fusion", ModelMetrics(registry)) as threads:
        assert threads.submit(divmod, 7, 2).result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            threads.submit(divmod, 7, 0).result()
    assert registry.get_sample_value("rewardloop_model_threads", {"service": "fusion"}) == 2
    busy = registry.get_sample_value("rewardloop_model_busy_seconds_total", {"service": "fusion"})
    assert busy is not None
    assert busy > 0
