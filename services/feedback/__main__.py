"""The feedback service: one joiner with its relay, and the feeder of the versions that serve."""

import os
import signal
import socket
import sys
import threading
from queue import Empty, SimpleQueue
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from uuid_utils import uuid7

from services.feedback.feeding import Feeder
from services.feedback.joiner import Joiner, LogLostError
from services.feedback.observing import JoinerMetrics, Observer
from services.feedback.settings import FeedbackSettings
from services.feedback.sharing import Share, Shared
from services.feedback.windows import LoopKey
from shared.clocks import monotonic, wall
from shared.db.engine import open_engine
from shared.db.offsets import FencedError
from shared.db.schema import await_schema_or_exit
from shared.eventlog import EventLog
from shared.eventlog.opening import open_event_log
from shared.garbage import collect_seldom
from shared.grpc import mutual_tls, open_blocking_channel
from shared.lifeline import lifeline_of, watch_lifeline
from shared.metrics import serve_metrics
from shared.pb.encoding.v1.encoding_pb2_grpc import EncodingServiceStub
from shared.pb.fusion.v1.fusion_pb2_grpc import FusionServiceStub
from shared.registry.artifacts import ArtifactStore
from shared.settings import told
from shared.telemetry import configure_logging
from shared.tracing import open_tracing

# A call that is under way at the end is left to itself after so long: what it fed is fed again.
FEEDER_SECONDS: Final = 1.0
# With what stands behind it, as much as PostgreSQL keeps of a session's name.
HOST_LENGTH: Final = 18


def main() -> None:
    """Runs until SIGTERM or SIGINT; exit status 1 where another joiner has taken over or the log is lost."""
    settings = told(FeedbackSettings)
    watch_lifeline(lifeline_of(os.environ))
    configure_logging(settings.log_level, "feedback")
    await_schema_or_exit(settings.database)
    # A queue's put may interrupt its get; an event's set may not interrupt its wait.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.put(received))
    member = f"{socket.gethostname()[:HOST_LENGTH]}/{os.getpid()}/{uuid7()}"
    # Who waits longer for a lock does not see that the one that holds it lives no more.
    engine = open_engine(settings.database, member, settings.joiner_lease_seconds)
    log = open_event_log(settings, wall)
    logger = structlog.get_logger(__name__)
    logger.info("started")
    stop = threading.Event()
    joined: SimpleQueue[LoopKey] = SimpleQueue()
    share = _share(engine, member, settings)
    observer = _observer(engine, settings)
    joiner = Joiner(engine, log, settings, share, wall=wall, monotonic=monotonic, tell=joined.put, observer=observer)
    feed = _feeder(engine, log, settings, joiner, joined).run
    feeder = threading.Thread(target=feed, args=(stop,), name="feeder", daemon=True)
    feeder.start()
    collect_seldom()
    try:
        joiner.run(lambda seconds: _comes(signals, seconds))
    except (FencedError, LogLostError) as error:
        logger.error("ended", reason=str(error))  # noqa: TRY400 - the reason is the whole story
        sys.exit(1)
    finally:
        stop.set()
        feeder.join(FEEDER_SECONDS)
        log.close()
        engine.dispose()
    logger.info("stopped")


def _observer(engine: Engine, settings: FeedbackSettings) -> Observer:
    registry = CollectorRegistry()
    metrics = JoinerMetrics(registry)
    metrics.watch_outbox(engine)
    serve_metrics(settings, registry)
    return Observer(metrics, open_tracing(settings, "joiner"))


def _share(engine: Engine, member: str, settings: FeedbackSettings) -> Share | None:
    """On Kafka, joiners share the partitions."""
    if settings.kafka_servers is None:
        return None
    return Shared(engine, member, round(settings.joiner_lease_seconds * 1e6), monotonic)


def _feeder(
    engine: Engine, log: EventLog, settings: FeedbackSettings, joiner: Joiner, joined: SimpleQueue[LoopKey]
) -> Feeder:
    tls = mutual_tls(settings)
    return Feeder(
        engine,
        log,
        ArtifactStore(settings.artifact_folder),
        EncodingServiceStub(open_blocking_channel(settings.encoding_address, tls)),
        FusionServiceStub(open_blocking_channel(settings.fusion_address, tls)),
        wall,
        lambda: joiner.leads,
        joined,
    )


def _comes(signals: SimpleQueue[int], seconds: float) -> bool:
    try:
        signals.get(timeout=seconds)
    except Empty:
        return False
    return True


if __name__ == "__main__":
    main()
