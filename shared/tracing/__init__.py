"""Traces that follow a decision: spans of OpenTelemetry, of which nothing is imported while nobody collects them.

A place in a trace is W3C's `traceparent`, a text that travels in requests, in gRPC's metadata, in the envelope of an
event and in a column of its row. What is not sampled has none: None means that there is nothing to record.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Literal, Protocol

import structlog

from shared.settings import PlatformSettings

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Final[Attributes] = {}

# gRPC metadata of a call that serves several decisions: the traceparents of those that are sampled, with commas.
METADATA_KEY: Final = "rewardloop-traceparents"

LOOP_ID: Final = "rewardloop.loop_id"
DECISION_ID: Final = "rewardloop.decision_id"
MODEL_VERSION: Final = "rewardloop.model_version"
SEQUENCE: Final = "rewardloop.sequence"
ROWS: Final = "rewardloop.rows"
# Where a traceparent has it.
TRACE_ID: Final = slice(3, 35)


class Span(Protocol):
    """A stretch of time in a trace. Entered, it is the current one, whose trace id the logs tell; leaving ends it."""

    @property
    def traceparent(self) -> str | None:
        """Its place, for what goes on with it; None where it is not recorded."""
        ...

    def tell(self, attributes: Attributes) -> None: ...

    def link(self, places: Sequence[str]) -> None:
        """Names places in other traces that it has to do with."""
        ...

    def end(self, error: str | None = None) -> None:
        """`error` names what it failed of."""
        ...

    def __enter__(self) -> "Span": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Tracing(Protocol):
    """Makes spans of one service."""

    @property
    def is_on(self) -> bool: ...

    @property
    def current(self) -> str | None:
        """The place of the span that this task is in."""
        ...

    def begin(self, name: str, traceparent: str | None = None, kind: Kind = "server") -> Span:
        """The first span here: in its caller's trace, and sampled as there, else in a new one, sampled by the ratio."""
        ...

    def span(
        self,
        name: str,
        parent: str | None = None,
        kind: Kind = "internal",
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> Span:
        """A span below `parent`, or below the current one; not recorded where there is neither."""
        ...

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
        """A span below `parent` that is told afterwards, in microseconds; `links` are places in other traces."""
        ...

    def flush(self) -> None:
        """Sends what has ended; where nobody takes it, that waits for seconds at most."""
        ...


class _Unrecorded:
    """The span of what is not sampled."""

    traceparent: None = None

    def tell(self, attributes: Attributes) -> None:
        pass

    def link(self, places: Sequence[str]) -> None:
        pass

    def end(self, error: str | None = None) -> None:
        pass

    def __enter__(self) -> "_Unrecorded":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Off:
    """Records nothing."""

    is_on = False
    current: None = None

    def begin(self, name: str, traceparent: str | None = None, kind: Kind = "server") -> Span:
        return UNRECORDED

    def span(
        self, name: str, parent: str | None = None, kind: Kind = "internal", attributes: Attributes = NO_ATTRIBUTES
    ) -> Span:
        return UNRECORDED

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
        pass

    def flush(self) -> None:
        pass


UNRECORDED: Final[Span] = _Unrecorded()
OFF: Final[Tracing] = _Off()


def open_tracing(settings: PlatformSettings, service: str) -> Tracing:
    """The tracing of a service in this process, off where no endpoint is told. Not before a process forks: it sends
    from a thread."""
    if settings.tracing_endpoint is None:
        return OFF
    # A third of a second of imports.
    from shared.tracing.recording import Recorder, exporter

    return Recorder(service, exporter(settings.tracing_endpoint), settings.tracing_ratio)


@contextmanager
def shared_spans(
    tracing: Tracing, name: str, parents: Sequence[str], kind: Kind, attributes: Attributes = NO_ATTRIBUTES
) -> Iterator[list[str]]:
    """What decisions of several traces go through together: a span in each trace, whose ids the logs tell meanwhile.

    Gives the places of the spans.
    """
    spans = [tracing.span(name, parent, kind, attributes) for parent in parents]
    logged = {"trace_ids": [one[TRACE_ID] for one in parents]} if parents else {}
    error: str | None = None
    try:
        with structlog.contextvars.bound_contextvars(**logged):
            yield [span.traceparent for span in spans if span.traceparent is not None]
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        for span in spans:
            span.end(error)
