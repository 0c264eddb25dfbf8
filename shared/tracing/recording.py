"""Spans by OpenTelemetry's SDK, sent in batches by OTLP over HTTP from a thread of their own."""

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar, Token
from importlib.metadata import version
from types import TracebackType
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.tracing import NO_ATTRIBUTES, UNRECORDED, Attributes, Kind, Span

DISTRIBUTION: Final = "rewardloop-platform"
# A collector that does not answer holds up no process's end for longer.
EXPORT_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 3.0
NANOSECONDS: Final = 1000
KINDS: Final[dict[Kind, trace.SpanKind]] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
PROPAGATOR: Final = TraceContextTextMapPropagator()
# The place of the span that this task or thread is in.
CURRENT: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)


class RecordedSpan:
    """A span of the SDK's."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        place = span.get_span_context()
        self._trace_id = f"{place.trace_id:032x}"
        self._traceparent = f"00-{self._trace_id}-{place.span_id:016x}-01"
        self._current: Token[str | None] | None = None

    @property
    def traceparent(self) -> str | None:
        return self._traceparent

    def tell(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def link(self, places: Sequence[str]) -> None:
        for place in _places(places):
            self._span.add_link(place)

    def end(self, error: str | None = None) -> None:
        if error is not None:
            # Not its message, which may quote what a product sent.
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()

    def __enter__(self) -> "RecordedSpan":
        self._current = CURRENT.set(self._traceparent)
        structlog.contextvars.bind_contextvars(trace_id=self._trace_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._current is not None
        CURRENT.reset(self._current)
        if CURRENT.get() is None:
            structlog.contextvars.unbind_contextvars("trace_id")
        self.end(None if kind is None else kind.__name__)


class Recorder:
    """Makes spans of one service."""

    is_on = True

    def __init__(self, service: str, exporter: SpanExporter, ratio: float) -> None:
        """`ratio` of the traces that begin here are sampled, from 0 to 1."""
        of = {SERVICE_NAMESPACE: "rewardloop", SERVICE_NAME: service, SERVICE_VERSION: version(DISTRIBUTION)}
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self._provider = TracerProvider(sampler, Resource.create(of), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rewardloop", version(DISTRIBUTION))
        atexit.register(self.close)

    @property
    def current(self) -> str | None:
        return CURRENT.get()

    def begin(self, name: str, traceparent: str | None = None, kind: Kind = "server") -> Span:
        span = self._tracer.start_span(name, _at(traceparent), KINDS[kind])
        return RecordedSpan(span) if span.is_recording() else UNRECORDED

    def span(
        self, name: str, parent: str | None = None, kind: Kind = "internal", attributes: Attributes = NO_ATTRIBUTES
    ) -> Span:
        at = parent or CURRENT.get()
        if at is None:
            return UNRECORDED
        return RecordedSpan(self._tracer.start_span(name, _at(at), KINDS[kind], attributes))

    def record(
        self,
        name: str,
        parent: str,
        began_at: int,
        ended_at: int,
        kind: Kind = "internal",
        attributes: Attributes = NO_ATTRIBUTES,
        links: Sequence[str] = (),
    ) -> None:
        linked, begun = [trace.Link(place) for place in _places(links)], began_at * NANOSECONDS
        span = self._tracer.start_span(name, _at(parent), KINDS[kind], attributes, linked, begun)
        span.end(ended_at * NANOSECONDS)

    def flush(self) -> None:
        self._provider.force_flush()

    def close(self) -> None:
        """Sends what is left, as far as somebody takes it."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def exporter(endpoint: str) -> SpanExporter:
    """To the OTLP receiver at a base address, such as http://127.0.0.1:4318."""
    return OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)


def _at(traceparent: str | None) -> Context:
    """The SDK's context of a place; that of no trace where it is none, or not W3C's."""
    return PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {}, Context())


def _places(traceparents: Sequence[str]) -> Iterator[trace.SpanContext]:
    return (trace.get_current_span(_at(one)).get_span_context() for one in traceparents)
