"""The pool's child: the one process of the trainer that imports torch, a single thread of low priority."""

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.process import AuthenticationString  # type: ignore[attr-defined] # the stubs lack it
from typing import Final

from prometheus_client import CollectorRegistry

from services.trainer.evaluating import Evaluator
from services.trainer.experiences import Replay
from services.trainer.launcher import fine_tune_by
from services.trainer.observing import WorkObserver
from services.trainer.process_group import settle
from services.trainer.publishing import Publisher
from services.trainer.reporting import Reporter
from services.trainer.settings import TrainerSettings
from services.trainer.trainer import Trainer
from shared.clocks import wall
from shared.db.engine import open_engine
from shared.eventlog.opening import open_event_log
from shared.lifeline import lifeline_of, watch_lifeline
from shared.metrics import serve_metrics
from shared.networks.media_decoder import MediaDecoder
from shared.networks.trunks import Trunks
from shared.priority import lower_priority
from shared.registry.artifacts import ArtifactStore
from shared.registry.collection import Collector
from shared.tracing import open_tracing

NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Child:
    """What the pool's child does: runs, evaluations, reports of loops, and garbage collection."""

    trainer: Trainer
    evaluator: Evaluator
    reporter: Reporter
    collector: Collector


def start_child(settings: TrainerSettings) -> Child:
    """Prepares this process, and what it trains with; connections are its own, never the parent's."""
    watch_lifeline(lifeline_of(os.environ))
    _allow_children()
    lower_priority(os.getpid(), NICENESS)
    settle()
    engine, artifacts = open_engine(settings.database), ArtifactStore(settings.artifact_folder)
    event_log = open_event_log(settings, wall)
    decode, trunks = MediaDecoder(), Trunks(settings.encoders)
    observer = _observer(settings)
    trainer = Trainer(
        engine=engine,
        artifacts=artifacts,
        replay=Replay(engine, decode, artifacts.get, trunks=trunks),
        publisher=Publisher(engine, artifacts, event_log, wall),
        settings=settings,
        clock=wall,
        trunks=trunks,
        fine_tune=fine_tune_by(settings),
        observer=observer,
    )
    reported = Replay(engine, decode, artifacts.get, trunks=trunks)
    replay = Replay(engine, decode, artifacts.get, 1, trunks)
    evaluator = Evaluator(engine, artifacts, replay, settings, wall, observer=observer)
    reporter = Reporter(engine, artifacts, reported, wall)
    return Child(trainer, evaluator, reporter, Collector(engine, artifacts, event_log, settings.retention))


def _observer(settings: TrainerSettings) -> WorkObserver:
    """Metrics are told by this process, since it does what they count."""
    registry = CollectorRegistry()
    serve_metrics(settings, registry)
    # Runs are few: each is traced.
    tracing = open_tracing(settings.model_copy(update={"tracing_ratio": 1.0}), "trainer")
    return WorkObserver(registry, wall, tracing)


def _allow_children() -> None:
    """Media are decoded in a child, which Celery's pool forbids its own: they are daemons, with a key of billiard's."""
    process = multiprocessing.current_process()
    key = AuthenticationString(process.authkey)
    process._config.update(daemon=False, authkey=key)  # type: ignore[attr-defined] # there is no public way
