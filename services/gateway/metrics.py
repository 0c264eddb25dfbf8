"""What the gateway counts. Labels are routes, methods, statuses and reasons: no ids, so that the series stay few."""

from collections.abc import Mapping
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.gateway.model_services import STAGES, ModelServices
from services.gateway.spooling import Spooled
from shared.domain import Decision

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The gateway's series, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "rewardloop_gateway_request_seconds",
            "Time to answer.",
            ("route", "method", "status"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._decisions = Counter(
            "rewardloop_gateway_decisions",
            "Decisions made, by why no model version decided (none: one did).",
            ("fallback_reason",),
            registry=self.registry,
        )
        self._unlogged = Counter(
            "rewardloop_gateway_unlogged_decisions",
            "Decisions that nothing is learned from: the log was away, and the spool full.",
            registry=self.registry,
        )
        self._shadowed = Counter(
            "rewardloop_gateway_shadowed_contexts",
            "Contexts that a shadow was to score, by what became of them: scored, failed or dropped.",
            ("outcome",),
            registry=self.registry,
        )
        self._feedback = Counter("rewardloop_gateway_feedback", "Feedback taken.", registry=self.registry)
        self._spooled = Gauge(
            "rewardloop_gateway_spooled_events",
            "Events that wait for the log.",
            ("topic",),
            registry=self.registry,
        )
        self._spooled_bytes = Gauge(
            "rewardloop_gateway_spooled_bytes", "Their size.", ("topic",), registry=self.registry
        )
        self._directory_age = Gauge(
            "rewardloop_gateway_directory_age_seconds",
            "Since loops, aliases and keys were read.",
            registry=self.registry,
        )
        self._versions = Gauge(
            "rewardloop_gateway_loaded_versions",
            "Model versions that a service says it has; -1: it does not answer.",
            ("stage",),
            registry=self.registry,
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).observe(seconds)

    def decided(self, decision: Decision, logged: bool) -> None:
        if not logged:
            self._unlogged.inc()
        self._decisions.labels(decision.fallback_reason or "none").inc()

    def shadowed(self, outcome: Literal["scored", "failed", "dropped"]) -> None:
        self._shadowed.labels(outcome).inc()

    def took_feedback(self, events: int) -> None:
        self._feedback.inc(events)

    def watch_directory(self, age_seconds: float) -> None:
        self._directory_age.set(age_seconds)

    def watch_spool(self, spooled: Mapping[str, Spooled]) -> None:
        for topic, waits in spooled.items():
            self._spooled.labels(topic).set(waits.events)
            self._spooled_bytes.labels(topic).set(waits.size)

    def watch_models(self, models: ModelServices) -> None:
        for stage in STAGES:
            loaded = models.loaded[stage]
            self._versions.labels(stage).set(-1 if loaded is None else len(loaded))
