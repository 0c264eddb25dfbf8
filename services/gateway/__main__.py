"""Wires the gateway and serves it: `python -m services.gateway`."""

import os
import sys
from functools import partial

import uvicorn
import uvloop

from services.gateway.app import create_app
from services.gateway.authentication import ensure_bootstrap_key, refuse_to_listen_without_keys
from services.gateway.model_services import Rpcs, Stage
from services.gateway.parts import Ports, assemble
from services.gateway.server import start_server
from services.gateway.settings import GatewaySettings
from services.gateway.spooling import SpooledLog
from shared.clocks import wall
from shared.db.schema import UnusableDatabaseError
from shared.db.upgrading import open_upgraded
from shared.domain import Clock
from shared.eventlog import EventLogError
from shared.eventlog.opening import open_event_log
from shared.events import DECISIONS, FEEDBACK
from shared.garbage import collect_seldom
from shared.grpc import mutual_tls, open_channel
from shared.lifeline import lifeline_of, watch_lifeline
from shared.registry.artifacts import ArtifactStore
from shared.security import new_secret, secret_file
from shared.settings import told
from shared.tasks import celery_app, enqueue_evaluation, enqueue_run
from shared.telemetry import configure_logging
from shared.tracing import open_tracing


def main() -> None:
    """Runs until SIGTERM or SIGINT; requests under way are finished first."""
    settings = told(GatewaySettings)
    watch_lifeline(lifeline_of(os.environ))
    configure_logging(settings.log_level, "gateway")
    uvloop.run(serve(settings, wall))


async def serve(settings: GatewaySettings, clock: Clock) -> None:
    try:
        engine = open_upgraded(settings.database)
    except UnusableDatabaseError as error:
        sys.exit(str(error))
    ensure_bootstrap_key(engine, settings, clock)
    addresses: dict[Stage, str] = {
        "encoding": settings.encoding_address,
        "fusion": settings.fusion_address,
        "policy": settings.policy_address,
    }
    spool, tasks, tls = _spool(settings, clock), celery_app(settings), mutual_tls(settings)
    ports = Ports(
        engine=engine,
        event_log=spool or open_event_log(settings, clock),
        spool=spool,
        artifacts=ArtifactStore(settings.artifact_folder),
        rpcs=Rpcs.over({stage: open_channel(address, tls) for stage, address in addresses.items()}),
        enqueue=partial(enqueue_run, tasks),
        enqueue_evaluation=partial(enqueue_evaluation, tasks),
        draw_secret=_draw_secret(settings),
        clock=clock,
        tracing=open_tracing(settings, "gateway"),
    )
    parts = assemble(ports, settings)
    parts.directory.refresh()
    refuse_to_listen_without_keys(settings.host, parts.directory, sys.exit)
    address = settings.grpc_address
    start_grpc = None if address is None else partial(start_server, parts, address, tls)
    app = create_app(parts, settings.refresh_interval, settings.models_interval, start_grpc)
    collect_seldom()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    await uvicorn.Server(config).serve()


def _draw_secret(settings: GatewaySettings) -> bytes:
    given = settings.draw_secret
    secret = secret_file(settings.home / "draw.secret", new_secret) if given is None else given.get_secret_value()
    return secret.encode()


def _spool(settings: GatewaySettings, clock: Clock) -> SpooledLog | None:
    """The way in to Kafka, where that is the log; another process on the same folder ends this one."""
    if settings.kafka_servers is None:
        return None
    from shared.eventlog.kafka import KafkaEventLog

    direct, patient = KafkaEventLog(settings, clock, settings.spool_after), KafkaEventLog(settings, clock)
    topics = (DECISIONS, FEEDBACK)
    try:
        spool = SpooledLog(direct, patient, settings.spool, clock, topics=topics, most_bytes=settings.spool_bytes)
    except EventLogError as error:
        sys.exit(f"{error}: stop it, or give this gateway a folder of its own by REWARDLOOP_SPOOL_FOLDER")
    spool.start()
    return spool


if __name__ == "__main__":
    main()
