"""What is told of the joiner: metrics of its transactions, and spans in the traces of sampled decisions."""

import math
from collections import Counter as Counted
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from services.feedback.intake import Intake, Joinable
from services.feedback.joining import Join
from services.feedback.repository import count_unpublished
from services.feedback.windows import Closing, Window
from shared.db.engine import read_session
from shared.db.offsets import Claim
from shared.domain import Decision, Feedback
from shared.eventlog import EventLogError
from shared.tracing import DECISION_ID, LOOP_ID, OFF, Attributes, Tracing

MICROSECONDS: Final = 1e6
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class JoinerMetrics:
    """Series of one joiner; their labels are names of outcomes and topics, of which there are few."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "rewardloop_joiner_events",
            "Events that were joined, by what they came to: as in a loop's statistics.",
            ("outcome",),
            registry=registry,
        )
        self.experiences = Counter(
            "rewardloop_joiner_experiences",
            "Windows that closed, by what closed them.",
            ("closed_by",),
            registry=registry,
        )
        self.dead_letters = Counter("rewardloop_joiner_dead_letters", "Records that were put aside.", registry=registry)
        self.seconds = Histogram(
            "rewardloop_joiner_transaction_seconds",
            "From reading the log to the commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "rewardloop_joiner_failures",
            "Turns that failed and are tried again, by what failed: log or database.",
            ("of",),
            registry=registry,
        )
        # From the first: a rate that begins with the first failure would miss it.
        for of in ("log", "database"):
            self.failures.labels(of)
        self.lag = Gauge(
            "rewardloop_joiner_lag_events",
            "Events of its partitions that it had not read when it last looked.",
            ("topic",),
            registry=registry,
        )
        self.partitions = Gauge("rewardloop_joiner_partitions", "Partitions that it reads.", registry=registry)
        self.unpublished = Gauge(
            "rewardloop_joiner_unpublished_experiences",
            "Experiences of all loops that are not in the log yet; NaN while the database does not tell.",
            registry=registry,
        )

    def watch_outbox(self, engine: Engine) -> None:
        """Has the database asked whenever somebody reads the metrics."""

        def unpublished() -> float:
            try:
                with read_session(engine) as session:
                    return count_unpublished(session)
            except SQLAlchemyError:
                return math.nan

        self.unpublished.set_function(unpublished)


class Observer:
    """Is told of each transaction once it is committed."""

    def __init__(self, metrics: JoinerMetrics, tracing: Tracing = OFF) -> None:
        self.metrics = metrics
        self._tracing = tracing

    def looked(self, claims: Iterable[Claim], ends: Mapping[str, Mapping[int, int]]) -> None:
        """Where it stands in the partitions that it reads, and where they end."""
        lag, partitions = Counted[str](), set[int]()
        for claim in claims:
            lag[claim.topic] += ends[claim.topic][claim.partition] - claim.offset
            partitions.add(claim.partition)
        for topic, events in lag.items():
            self.metrics.lag.labels(topic).set(events)
        self.metrics.partitions.set(len(partitions))

    def failed(self, error: SQLAlchemyError | EventLogError) -> None:
        self.metrics.failures.labels("log" if isinstance(error, EventLogError) else "database").inc()

    def joined(self, intakes: Iterable[Intake], join: Join, began_at: int, ended_at: int, microseconds: int) -> None:
        """From `began_at` to `ended_at` by the wall clock; it took so many microseconds."""
        self.metrics.seconds.observe(microseconds / MICROSECONDS)
        for (_, _, name), count in join.changes.counts.items():
            # Dangling feedback that found its decision is counted back in the statistics alone.
            if count > 0:
                self.metrics.events.labels(name).inc(count)
        for closing in join.changes.closings:
            self.metrics.experiences.labels(closing.closed_by).inc()
        self.metrics.dead_letters.inc(len(join.changes.dead))
        if self._tracing.is_on:
            events = (event for intake in intakes for event, _ in intake.events)
            self._trace(events, join, began_at, ended_at)

    def _trace(self, events: Iterable[Joinable], join: Join, began_at: int, ended_at: int) -> None:
        for event in events:
            window = join.windows.get((event.tenant, event.loop_id, event.decision_id))
            if isinstance(event, Decision) and event.traceparent is not None:
                self._record("join DecisionMade", event.traceparent, began_at, ended_at, event)
            elif isinstance(event, Feedback):
                self._trace_feedback(event, window, began_at, ended_at)
        for closing in join.changes.closings:
            self._trace_closing(closing, began_at, ended_at)

    def _trace_feedback(self, feedback: Feedback, window: Window | None, began_at: int, ended_at: int) -> None:
        """In the trace of the decision, linked to the request that brought it; else in that of the request."""
        of_decision = None if window is None else window.traceparent
        parent = of_decision or feedback.traceparent
        if parent is None:
            return
        links = [] if feedback.traceparent in (None, parent) else [feedback.traceparent]
        self._record("join FeedbackReceived", parent, began_at, ended_at, feedback, [one for one in links if one])

    def _trace_closing(self, closing: Closing, began_at: int, ended_at: int) -> None:
        if closing.window.traceparent is not None:
            self._record("close window", closing.window.traceparent, began_at, ended_at, closing.window)

    def _record(
        self,
        name: str,
        parent: str,
        began_at: int,
        ended_at: int,
        of: Decision | Feedback | Window,
        links: Sequence[str] = (),
    ) -> None:
        attributes: Attributes = {LOOP_ID: of.loop_id, DECISION_ID: of.decision_id}
        self._tracing.record(name, parent, began_at, ended_at, "consumer", attributes, links)
