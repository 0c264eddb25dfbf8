"""What the application is made of."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from services.gateway.appending import Appender
from services.gateway.arms import Arms
from services.gateway.deciding import Decider
from services.gateway.directory import Directory
from services.gateway.evaluations import EnqueueEvaluation, Evaluations
from services.gateway.feedback import FeedbackTaker
from services.gateway.fitting import Fitting
from services.gateway.formats import JSON, MESSAGEPACK, Format
from services.gateway.idempotency import DecidedBefore, RecentAnswers
from services.gateway.importing import Importer
from services.gateway.loops import Loops
from services.gateway.metrics import Metrics
from services.gateway.model_services import ModelServices, Rpcs
from services.gateway.pipeline import Pipeline
from services.gateway.requests import RequestReader
from services.gateway.rollouts import Rollouts
from services.gateway.serving import Serving
from services.gateway.settings import GatewaySettings
from services.gateway.shadowing import Shadow
from services.gateway.spooling import SpooledLog
from services.gateway.storage import Storage
from services.gateway.training import Enqueue, Training
from services.gateway.versions import Versions
from shared.domain import Clock
from shared.eventlog import EventLog
from shared.networks.trunk_files import find_files
from shared.registry.artifacts import ArtifactStore
from shared.registry.collection import Collector
from shared.tracing import OFF, Tracing


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the routes use."""

    engine: Engine
    event_log: EventLog
    spool: SpooledLog | None
    directory: Directory
    models: ModelServices
    serving: Serving
    first_version_timeout: float
    readers: Mapping[Format, RequestReader]
    decider: Decider
    feedback: FeedbackTaker
    importer: Importer
    appender: Appender
    storage: Storage
    loops: Loops
    training: Training
    evaluations: Evaluations
    rollouts: Rollouts
    versions: Versions
    version_bytes: int
    shadow: Shadow
    metrics: Metrics
    tracing: Tracing
    clock: Clock


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside: a test brings its own."""

    engine: Engine
    event_log: EventLog
    artifacts: ArtifactStore
    rpcs: Rpcs
    enqueue: Enqueue
    enqueue_evaluation: EnqueueEvaluation
    draw_secret: bytes
    clock: Clock
    # The event log again, where it is a cluster that can be away.
    spool: SpooledLog | None = None
    tracing: Tracing = OFF


def assemble(ports: Ports, settings: GatewaySettings) -> Parts:
    """The parts over the ports; needs no event loop and starts nothing."""
    engine, clock = ports.engine, ports.clock
    directory = Directory(engine, ports.artifacts.get, clock)
    models = ModelServices(ports.rpcs, settings.stage_timeout, settings.models_timeout, ports.tracing)
    serving = Serving(directory, models)
    appender = Appender(ports.event_log, topics=3)
    storage = Storage(ports.artifacts, engine, clock)
    metrics = Metrics()
    pipeline = Pipeline(serving, models, settings.most_waiting, settings.decide_timeout)
    shadow = Shadow(serving, pipeline, appender, metrics.shadowed, settings.shadow_share, clock)
    find_encoder = partial(find_files, folder=settings.encoders) if settings.check_encoders else None
    fitting = Fitting(ports.artifacts.get, find_encoder)
    collector = Collector(engine, ports.artifacts, ports.event_log, settings.retention)
    looking_up = ThreadPoolExecutor(1, thread_name_prefix="decided-before")
    decider = Decider(
        pipeline=pipeline,
        arms=Arms(serving, ports.draw_secret),
        appender=appender,
        storage=storage,
        recent=RecentAnswers(settings.recent_answers_bytes),
        before=DecidedBefore(engine, looking_up, settings.lookup_timeout),
        draw_secret=ports.draw_secret,
        clock=clock,
        on_decided=metrics.decided,
        on_drafted=shadow.offer,
        tracing=ports.tracing,
    )
    return Parts(
        engine=engine,
        event_log=ports.event_log,
        spool=ports.spool,
        directory=directory,
        models=models,
        serving=serving,
        first_version_timeout=settings.first_version_timeout,
        version_bytes=settings.version_bytes,
        readers={form: RequestReader(form) for form in (JSON, MESSAGEPACK)},
        decider=decider,
        feedback=FeedbackTaker(appender, clock, metrics.took_feedback, ports.tracing),
        importer=Importer(engine, appender, storage, clock),
        appender=appender,
        storage=storage,
        loops=Loops(engine, directory, ports.enqueue, clock, find_encoder),
        training=Training(engine, ports.event_log, serving, ports.enqueue, clock),
        evaluations=Evaluations(engine, ports.event_log, ports.enqueue_evaluation, clock),
        shadow=shadow,
        rollouts=Rollouts(engine, directory, ports.artifacts.get, fitting, clock),
        versions=Versions(engine, ports.artifacts, fitting, collector, clock),
        metrics=metrics,
        tracing=ports.tracing,
        clock=clock,
    )
