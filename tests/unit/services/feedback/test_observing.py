"""What the joiner tells of itself: figures of its transactions, and spans in the traces of what it joins."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from services.feedback.observing import JoinerMetrics, Observer
from shared.eventlog import EventLogError, Record
from shared.events import DECISIONS, EXPERIENCES, event_from_record
from shared.tracing.recording import Recorder
from tests.unit.services.feedback.conftest import GRACE, WAIT, Bench

TRACE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
PLACE, ELSEWHERE = f"00-{TRACE}-00f067aa0ba902b7-01", f"00-{OTHER}-b7ad6b7169203331-01"


class Observed:
    """A bench whose joiner is observed."""

    def __init__(self, bench: Bench) -> None:
        self.registry = CollectorRegistry()
        self.metrics = JoinerMetrics(self.registry)
        self._exporter = InMemorySpanExporter()
        self._recorder = Recorder("joiner", self._exporter, 0.0)
        bench.joiner._observer = Observer(self.metrics, self._recorder)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"rewardloop_joiner_{name}", labels)

    def spans(self) -> dict[str, ReadableSpan]:
        self._recorder.flush()
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def observed(bench: Bench) -> Iterator[Observed]:
    return Observed(bench)


def test_events_are_counted_by_what_they_come_to(bench: Bench, observed: Observed) -> None:
    bench.decide()
    bench.decide()
    bench.feed()
    bench.feed(feedback_id="another")
    bench.feed("nobody's")
    bench.log.append(DECISIONS, [Record("acme/news/x", b"no event")])
    bench.drain()
    assert observed.value("events_total", outcome="decisions") == 1
    assert observed.value("events_total", outcome="duplicate_decisions") == 1
    assert observed.value("events_total", outcome="feedback") == 2
    assert observed.value("events_total", outcome="dangling_feedback") == 1
    assert observed.value("experiences_total", closed_by="feedback") == 1
    assert observed.value("dead_letters_total") == 1
    assert observed.value("lag_events", topic=DECISIONS) == 0
    assert observed.value("partitions") == 1


def test_lag_is_what_it_had_not_read_when_it_looked(bench: Bench, observed: Observed) -> None:
    bench.drain()
    for number in range(3):
        bench.decide(f"d-{number}")
    bench.joiner.step()
    assert observed.value("lag_events", topic=DECISIONS) == 3


def test_the_outbox_is_what_the_log_lacks(bench: Bench, observed: Observed) -> None:
    observed.metrics.watch_outbox(bench.engine)
    bench.log.refuses.add(EXPERIENCES)
    bench.decide()
    bench.feed()
    bench.drain()
    assert observed.value("unpublished_experiences") == 1


def test_what_fails_is_counted(bench: Bench, observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> dict[int, int]:
        raise EventLogError("Kafka does not answer")

    monkeypatch.setattr(bench.log, "ends", away)
    waits = iter([False, True])
    bench.joiner.run(lambda _: next(waits))
    assert observed.value("failures_total", of="log") == 1
    assert observed.value("failures_total", of="database") == 0


def test_a_decision_s_trace_goes_on_in_later_transactions_and_in_the_log(bench: Bench, observed: Observed) -> None:
    bench.decide(traceparent=PLACE)
    bench.drain()
    bench.start()
    again = Observed(bench)
    bench.feed(traceparent=ELSEWHERE)
    bench.drain()
    assert list(observed.spans()) == ["join DecisionMade"]
    assert list(again.spans()) == ["join FeedbackReceived", "close window"]
    for span in (*observed.spans().values(), *again.spans().values()):
        assert f"{span.context.trace_id:032x}" == TRACE
    (link,) = again.spans()["join FeedbackReceived"].links
    assert f"{link.context.trace_id:032x}" == OTHER
    experience = event_from_record(bench.log.records[EXPERIENCES][0])
    assert experience.traceparent == PLACE  # type: ignore[union-attr] # it is an experience


def test_a_window_that_ends_by_time_is_told_too(bench: Bench, observed: Observed) -> None:
    bench.decide(traceparent=PLACE)
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert list(observed.spans()) == ["join DecisionMade", "close window"]


def test_what_is_not_sampled_leaves_no_span(bench: Bench, observed: Observed) -> None:
    bench.decide()
    bench.feed()
    bench.drain()
    assert observed.spans() == {}


@pytest.mark.parametrize("told", [b"", b"\0", b"00-x", PLACE.encode()[:-2] + b"00", b"\xff" * 55])
def test_a_header_that_is_no_place_is_none(bench: Bench, observed: Observed, told: bytes) -> None:
    bench.decide(traceparent=PLACE)
    record = bench.log.records[DECISIONS][0]
    bench.log.records[DECISIONS][0] = Record(record.key, record.value, {**record.headers, "ce_traceparent": told})
    bench.feed()
    bench.drain()
    assert bench.reward() == 1.0
    assert observed.spans() == {}
