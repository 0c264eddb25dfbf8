"""What is told of the online heads: metrics of their learning, and spans in the traces of what they learn from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.domain import Experience, ModelRef
from shared.tracing import LOOP_ID, MODEL_VERSION, OFF, Attributes, Tracing, shared_spans


class Observer:
    """Is told what a version learns from. Series have no labels: loops and versions are many."""

    def __init__(self, registry: CollectorRegistry, tracing: Tracing = OFF) -> None:
        self._tracing = tracing
        self._learned = Counter(
            "rewardloop_policy_experiences_learned",
            "Experiences that heads have taken, counted by each version that learns.",
            registry=registry,
        )
        self._behind = Gauge(
            "rewardloop_policy_experiences_behind",
            "Experiences that the log has and a head of this process has not learned yet.",
            registry=registry,
        )

    def watch(self, behind: Callable[[], int]) -> None:
        self._behind.set_function(behind)

    @contextmanager
    def learning(self, ref: ModelRef, experiences: Sequence[Experience]) -> Iterator[None]:
        """While a version learns from these."""
        sampled = [one.traceparent for one in experiences if one.traceparent is not None]
        attributes: Attributes = {LOOP_ID: ref.loop_id, MODEL_VERSION: ref.version}
        with shared_spans(self._tracing, "learn ExperienceJoined", sampled, "consumer", attributes):
            yield
        self._learned.inc(len(experiences))
