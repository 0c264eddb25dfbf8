"""What is told of the trainer: metrics of what the worker and beat do, and spans of runs and what they learned from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.domain import Clock, RunKind, TrainingRun
from shared.evaluation.rollout_verdict import Course
from shared.tracing import LOOP_ID, OFF, UNRECORDED, Attributes, Span, Tracing

RunOutcome = Literal["succeeded", "skipped", "failed", "lost"]
SECONDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
# The newest sampled experiences whose traces tell that a run learned from them: OpenTelemetry keeps 128 links.
MOST_TRACED: Final = 64


class WorkObserver:
    """Of the worker: is told of runs and evaluations."""

    def __init__(self, registry: CollectorRegistry, clock: Clock, tracing: Tracing = OFF) -> None:
        self._clock = clock
        self._tracing = tracing
        # Of the run that is under way: a worker does one at a time.
        self._span: Span = UNRECORDED
        self._runs = Counter(
            "rewardloop_trainer_runs",
            "Training runs, by kind and how they ended; lost: another worker has gone on with it.",
            ("kind", "outcome"),
            registry=registry,
        )
        # From the first: a rate that begins with the first failure would miss it.
        for kind in get_args(RunKind):
            for outcome in get_args(RunOutcome):
                self._runs.labels(kind, outcome)
        self._seconds = Histogram(
            "rewardloop_trainer_run_seconds", "Of a training run.", ("kind",), buckets=SECONDS, registry=registry
        )
        self._verdicts = Counter(
            "rewardloop_trainer_gate_verdicts", "Candidates, by what the gate found.", ("finding",), registry=registry
        )
        self._evaluations = Counter(
            "rewardloop_trainer_evaluations", "Evaluations, by how they ended.", ("outcome",), registry=registry
        )

    @contextmanager
    def run(self, run: TrainingRun) -> Iterator[list[RunOutcome]]:
        """While a run is done; how it ended is to be appended."""
        outcomes: list[RunOutcome] = []
        began = perf_counter()
        with self._tracing.begin(f"training run: {run.kind}", kind="internal") as span:
            span.tell(_attributes(run))
            self._span = span
            yield outcomes
        self._seconds.labels(run.kind).observe(perf_counter() - began)
        for outcome in outcomes:
            self._runs.labels(run.kind, outcome).inc()
        self._tracing.flush()

    @contextmanager
    def learning(self, run: TrainingRun, traceparents: Sequence[str | None]) -> Iterator[None]:
        """While a run learns from experiences with these places in traces, oldest first; within `run`."""
        sampled = [one for one in traceparents if one is not None][-MOST_TRACED:]
        began_at = self._clock()
        yield
        here = self._tracing.current
        if here is None:
            return
        self._span.link(sampled)
        ended_at = self._clock()
        for traceparent in sampled:
            self._tracing.record("fine-tune", traceparent, began_at, ended_at, "consumer", _attributes(run), [here])

    def judged(self, finding: object) -> None:
        """What the gate found; None of a first version, which it does not see."""
        if finding is not None:
            self._verdicts.labels(str(finding)).inc()

    def evaluated(self, outcome: RunOutcome) -> None:
        self._evaluations.labels(outcome).inc()


class ControlMetrics:
    """Of beat, which leads rollouts and delivers to webhooks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._led = Counter(
            "rewardloop_rollouts_led",
            "What was done to rollouts: step, promote, roll_back, stop or hold.",
            ("course",),
            registry=registry,
        )
        for course in get_args(Course):
            self._led.labels(course)
        self._under_way = Gauge("rewardloop_rollouts_under_way", "Rollouts that have not ended.", registry=registry)
        self._delivered = Counter(
            "rewardloop_webhook_deliveries",
            "Attempts to deliver to a webhook, by whether the receiver took it.",
            ("outcome",),
            registry=registry,
        )

    def led(self, course: Course) -> None:
        self._led.labels(course).inc()

    def under_way(self, rollouts: int) -> None:
        self._under_way.set(rollouts)

    def delivered(self, taken: bool) -> None:
        self._delivered.labels("taken" if taken else "refused").inc()


def _attributes(run: TrainingRun) -> Attributes:
    return {LOOP_ID: run.loop_id, "rewardloop.training_run_id": run.training_run_id}
