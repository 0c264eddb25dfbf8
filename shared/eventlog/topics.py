"""The topics on a Kafka cluster: made once, by `rewardloop init`."""

from collections.abc import Iterable, Iterator
from typing import Final

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from shared.eventlog import MAX_RECORD_BYTES, EventLogError
from shared.eventlog.kafka_clients import connected
from shared.eventlog.settings import KafkaSettings
from shared.events import DEAD_LETTERS, MODELS, TOPICS

DAY_MS: Final = 24 * 60 * 60 * 1000
# A record with its envelope, with room to spare.
LARGEST_MESSAGE: Final = MAX_RECORD_BYTES * 2
# Few events, read by nobody who shares work.
SINGLE: Final = frozenset({MODELS, DEAD_LETTERS})


def prepare_topics(settings: KafkaSettings, topics: Iterable[str] = TOPICS) -> Iterator[str]:
    """Makes the topics that are not there, and tells of each in a line; one that is there is left as it is.

    Raises:
        EventLogError: the cluster refuses, or does not answer.
    """
    try:
        admin = connected(KafkaAdminClient, **settings.kafka_client())
        try:
            for topic in topics:
                yield _prepare(admin, settings, topic)
        finally:
            admin.close()
    except KafkaError as error:
        raise EventLogError(
            f"Kafka at {settings.kafka_servers} does not make topics ({type(error).__name__}): see whether it runs "
            "and lets this user make them, or set REWARDLOOP_KAFKA_SERVERS"
        ) from error


def _prepare(admin: KafkaAdminClient, settings: KafkaSettings, topic: str) -> str:
    name = settings.kafka_topic_prefix + topic
    partitions = 1 if topic in SINGLE else settings.kafka_partitions
    try:
        admin.create_topics({name: _options(settings, partitions)}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        (told,) = admin.describe_topics([name])
        found = len(told["partitions"])
        if found == partitions:
            return f"topic {name} is there, with {_count(found)}"
        return (
            f"topic {name} is there with {_count(found)}, not {partitions} as REWARDLOOP_KAFKA_PARTITIONS says: it is "
            "left so, since other partitions would part feedback from its decisions"
        )
    return f"topic {name} was made, with {_count(partitions)}"


def _options(settings: KafkaSettings, partitions: int) -> dict[str, object]:
    return {
        "num_partitions": partitions,
        "replication_factor": settings.kafka_replicas or -1,
        "configs": {
            "retention.ms": str(round(settings.kafka_retention_days * DAY_MS)),
            "max.message.bytes": str(LARGEST_MESSAGE),
            # A gateway whose clock runs ahead must not be refused: its events are acknowledged by then.
            "message.timestamp.after.max.ms": str(2**63 - 1),
        },
    }


def _count(partitions: int) -> str:
    return "1 partition" if partitions == 1 else f"{partitions} partitions"
