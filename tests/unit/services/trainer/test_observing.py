"""What the worker tells of runs: figures, and spans in the traces of what a run learned from."""

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from services.trainer.observing import MOST_TRACED, WorkObserver
from shared.domain import TrainingRun
from shared.tracing.recording import Recorder

RUN = TrainingRun("acme", "news", "run-1", "fine_tune", "running", 0, {})


def place(trace: int) -> str:
    return f"00-{trace:032x}-00f067aa0ba902b7-01"


def test_a_run_is_linked_with_the_newest_sampled_experiences() -> None:
    exporter = InMemorySpanExporter()
    now = iter(range(1000, 2000))
    observer = WorkObserver(CollectorRegistry(), lambda: next(now), Recorder("trainer", exporter, 1.0))
    traces = [place(trace) for trace in range(1, 2 * MOST_TRACED + 1)]
    with observer.run(RUN) as outcomes:
        with observer.learning(RUN, [None, *traces]):
            pass
        outcomes.append("succeeded")
    *learned, run = exporter.get_finished_spans()
    newest = list(range(MOST_TRACED + 1, 2 * MOST_TRACED + 1))
    assert run.name == "training run: fine_tune"
    assert [span.context.trace_id for span in learned] == newest
    assert [link.context.trace_id for link in run.links] == newest
    for span in learned:
        assert [link.context.span_id for link in span.links] == [run.context.span_id]
        assert (span.start_time, span.end_time) == (1_000_000, 1_001_000)


def test_runs_are_counted_by_how_they_end_and_told_from_the_first() -> None:
    registry = CollectorRegistry()
    observer = WorkObserver(registry, lambda: 0)
    failed = ("rewardloop_trainer_runs_total", {"kind": "fine_tune", "outcome": "failed"})
    assert registry.get_sample_value(*failed) == 0
    with observer.run(RUN) as outcomes:
        outcomes.append("failed")
    observer.judged(None)
    observer.judged("passed")
    assert registry.get_sample_value(*failed) == 1
    assert registry.get_sample_value("rewardloop_trainer_run_seconds_count", {"kind": "fine_tune"}) == 1
    assert registry.get_sample_value("rewardloop_trainer_gate_verdicts_total", {"finding": "passed"}) == 1
