"""The production profile for a benchmark: topics and a database of its own on the servers of `make services`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from uuid_utils import uuid7

from deploy.local.home import running
from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from shared.eventlog.topics import prepare_topics
from shared.settings import PlatformSettings


def servers() -> tuple[KafkaServer, PostgresqlServer]:
    """Those that run; ends the benchmark where they do not."""
    here = running()
    kafka, postgresql = here.get("kafka"), here.get("postgresql")
    if not isinstance(kafka, KafkaServer) or not isinstance(postgresql, PostgresqlServer):
        sys.exit("Kafka and PostgreSQL do not run: `make services` starts them")
    return kafka, postgresql


def server_processes() -> dict[str, psutil.Process]:
    """Of those that run, by name."""
    kafka, postgresql = servers()
    found = {"Kafka": kafka.process(), "PostgreSQL": postgresql.process()}
    return {name: process for name, process in found.items() if process is not None}


@contextmanager
def production(home: Path) -> Iterator[PlatformSettings]:
    """Settings of a platform whose topics are there, and whose database is empty, and dropped at the end."""
    kafka, postgresql = servers()
    name = f"benchmark_{uuid7().hex}"
    settings = PlatformSettings(
        home=home,
        kafka_servers=kafka.address,
        kafka_topic_prefix=f"{name}.",
        database_url=postgresql.create_database(name),
    )
    for _ in prepare_topics(settings):
        pass
    try:
        yield settings
    finally:
        postgresql.drop_database(name)


def variables(settings: PlatformSettings) -> dict[str, str]:
    """The environment of the platform's processes."""
    given = {
        "REWARDLOOP_HOME": str(settings.home),
        "REWARDLOOP_DATABASE_URL": settings.database,
        "REWARDLOOP_KAFKA_TOPIC_PREFIX": settings.kafka_topic_prefix,
    }
    return given if settings.kafka_servers is None else given | {"REWARDLOOP_KAFKA_SERVERS": settings.kafka_servers}
