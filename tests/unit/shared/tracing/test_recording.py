"""Spans by the SDK: where they stand, what is sampled, and what the logs tell meanwhile."""

import asyncio
import subprocess
import sys

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.tracing import OFF, shared_spans
from shared.tracing.recording import Recorder

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorded:
    """A recorder, and what it has exported."""

    def __init__(self, ratio: float) -> None:
        self._exporter = InMemorySpanExporter()
        self.recorder = Recorder("gateway", self._exporter, ratio)

    def spans(self) -> dict[str, str | None]:
        """The spans' parents, by names."""
        self.recorder.flush()
        spans = self._exporter.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans}
        return {span.name: None if span.parent is None else names.get(span.parent.span_id) for span in spans}

    def trace_ids(self) -> set[str]:
        self.recorder.flush()
        return {f"{span.context.trace_id:032x}" for span in self._exporter.get_finished_spans()}


def test_a_request_goes_on_with_its_callers_trace_whatever_the_ratio() -> None:
    recorded = Recorded(0.0)
    with recorded.recorder.begin("request", CALLER), recorded.recorder.span("decide"):
        pass
    assert recorded.spans() == {"request": None, "decide": "request"}
    assert recorded.trace_ids() == {TRACE}


@pytest.mark.parametrize(
    "told", [CALLER[:-2] + "00", None, "", "no traceparent", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"]
)
def test_what_is_not_sampled_has_no_place_and_no_span(told: str | None) -> None:
    recorded = Recorded(0.0)
    with recorded.recorder.begin("request", told) as span, recorded.recorder.span("decide") as inner:
        assert span.traceparent is inner.traceparent is recorded.recorder.current is None
    assert recorded.spans() == {}


def test_a_caller_that_does_not_sample_is_heeded_whatever_the_ratio() -> None:
    recorded = Recorded(1.0)
    with recorded.recorder.begin("request", CALLER[:-2] + "00"):
        pass
    assert recorded.spans() == {}


def test_the_ratio_samples_traces_that_begin_here() -> None:
    recorded = Recorded(0.25)
    for _ in range(400):
        with recorded.recorder.begin("request"):
            pass
    assert 50 < len(recorded.trace_ids()) < 150


def test_a_place_reads_as_opentelemetry_reads_it() -> None:
    with Recorded(1.0).recorder.begin("request") as span:
        context = TraceContextTextMapPropagator().extract({"traceparent": span.traceparent})
    written: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(written, context)
    assert written == {"traceparent": span.traceparent}


def test_a_shared_call_is_a_span_in_each_trace() -> None:
    recorded = Recorded(0.0)
    with shared_spans(recorded.recorder, "Encode", [CALLER, OTHER], "server", {"rewardloop.rows": 3}) as places:
        assert [place.split("-")[1] for place in places] == [CALLER.split("-")[1], OTHER.split("-")[1]]
        assert structlog.contextvars.get_contextvars()["trace_ids"] == [TRACE, OTHER.split("-")[1]]
    assert recorded.trace_ids() == {TRACE, OTHER.split("-")[1]}
    assert "trace_ids" not in structlog.contextvars.get_contextvars()


def test_an_error_is_told_by_its_kind_alone() -> None:
    exporter = InMemorySpanExporter()
    recorder = Recorder("gateway", exporter, 1.0)
    with pytest.raises(ValueError, match="secret"), recorder.begin("request"):
        raise ValueError("secret")
    recorder.flush()
    (span,) = exporter.get_finished_spans()
    assert span.attributes == {"error.type": "ValueError"}
    assert not span.status.is_ok
    assert span.events == ()


async def test_tasks_have_their_own_current_span_and_trace_id() -> None:
    recorder = Recorded(1.0).recorder

    async def request() -> tuple[str | None, str]:
        with recorder.begin("request") as span:
            await asyncio.sleep(0)
            assert recorder.current == span.traceparent
            return span.traceparent, structlog.contextvars.get_contextvars()["trace_id"]

    for traceparent, logged in await asyncio.gather(request(), request()):
        assert traceparent is not None
        assert traceparent.split("-")[1] == logged
    assert recorder.current is None
    assert "trace_id" not in structlog.contextvars.get_contextvars()


def test_off_records_nothing() -> None:
    with OFF.begin("request", CALLER) as span, OFF.span("decide", CALLER) as inner:
        assert span.traceparent is inner.traceparent is OFF.current is None


@pytest.mark.parametrize(
    "module", ["services.gateway.__main__", "services.feedback.__main__", "services.policy.server"]
)
def test_nothing_of_opentelemetrys_sdk_is_imported_without_an_endpoint(module: str) -> None:
    probe = (
        "import importlib, sys; importlib.import_module(sys.argv[1]);"
        "from shared.settings import PlatformSettings; from shared.tracing import OFF, open_tracing;"
        "assert open_tracing(PlatformSettings(tracing_endpoint=None), 'x') is OFF;"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", probe, module], check=False).returncode == 0
