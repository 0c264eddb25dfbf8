"""The log on an Apache Kafka cluster: acknowledged by all replicas, keyed, any number of partitions and writers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from shared.domain import Clock
from shared.eventlog import MAX_RECORD_BYTES, EventLogError, Position, Record, StoredRecord, refuse_too_large
from shared.eventlog.kafka_clients import connected
from shared.eventlog.kafka_reading import Offsets, TopicReader
from shared.eventlog.settings import KafkaSettings

# What Kafka wraps a record in.
ENVELOPE_BYTES: Final = 64 * 1024
LARGEST_BATCH: Final = MAX_RECORD_BYTES + ENVELOPE_BYTES
BATCH_BYTES: Final = 512 * 1024
# Each append flushes: the producer only has to wait until an append has handed over all of its records.
LINGER_MS: Final = 20
CLOSE_SECONDS: Final = 5.0


class KafkaEventLog:
    """The event log's port over a cluster; safe to share between threads. It connects when it is first used.

    Topics are made by `topics.prepare_topics`, not here. Times of append are the writer's, in whole milliseconds.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock, timeout: float | None = None) -> None:
        """`timeout` bounds each call, in seconds; not given: as the settings say."""
        self._servers = settings.kafka_servers
        self._prefix = settings.kafka_topic_prefix
        self._clock = clock
        self._timeout = timeout or settings.kafka_timeout
        self._client = settings.kafka_client(timeout)
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._offsets: Offsets | None = None
        self._readers: dict[str, TopicReader] = {}
        self._closed = False

    def connect(self) -> None:
        """Makes ready to append, so that the first append need not.

        Raises:
            EventLogError: the cluster does not answer.
        """
        with self._errors("*"):
            self._connected_producer()

    def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        refuse_too_large(topic, records)
        if not records:
            return []
        with self._errors(topic):
            producer = self._connected_producer()
            try:
                return self._append(producer, topic, records)
            except BaseException:
                # Whoever is told of an error acts on it: nothing may still be sent behind its back.
                self._drop(producer)
                raise

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        with self._errors(topic):
            return self._reader(topic).read(partition, offset, limit)

    def ends(self, topic: str) -> dict[int, int]:
        with self._errors(topic):
            return self._known_offsets().ends(self._prefix + topic)

    def trim(self, topic: str, before: int) -> int:
        """Drops, in each partition, what stands before the first record that is not older than that."""
        with self._errors(topic):
            return self._known_offsets().trim(self._prefix + topic, -(-before // 1000))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            producer, self._producer = self._producer, None
            offsets, self._offsets = self._offsets, None
            readers, self._readers = self._readers, {}
        if producer is not None:
            _close_producer(producer)
        for reader in readers.values():
            reader.close()
        if offsets is not None:
            offsets.close()

    def _append(self, producer: KafkaProducer, topic: str, records: Sequence[Record]) -> list[Position]:
        now = self._clock() // 1000
        sent = [
            producer.send(
                self._prefix + topic,
                record.value,
                key=record.key.encode(),
                headers=list(record.headers.items()),
                timestamp_ms=now,
            )
            for record in records
        ]
        producer.flush(self._timeout)
        stored = [future.get(timeout=0) for future in sent]
        return [Position(topic, one.partition, one.offset) for one in stored]

    def _connected_producer(self) -> KafkaProducer:
        with self._lock:
            self._refuse_if_closed()
            if self._producer is None:
                milliseconds = round(self._timeout * 1000)
                self._producer = connected(
                    KafkaProducer,
                    **self._client,
                    acks="all",
                    enable_idempotence=True,
                    allow_auto_create_topics=False,
                    linger_ms=LINGER_MS,
                    batch_size=BATCH_BYTES,
                    max_request_size=LARGEST_BATCH,
                    max_block_ms=milliseconds,
                    delivery_timeout_ms=milliseconds + LINGER_MS,
                )
            return self._producer

    def _drop(self, producer: KafkaProducer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        _close_producer(producer)

    def _known_offsets(self) -> Offsets:
        with self._lock:
            self._refuse_if_closed()
            if self._offsets is None:
                self._offsets = Offsets(self._client, self._timeout)
            return self._offsets

    def _reader(self, topic: str) -> TopicReader:
        offsets = self._known_offsets()
        with self._lock:
            self._refuse_if_closed()
            if topic not in self._readers:
                self._readers[topic] = TopicReader(topic, self._prefix + topic, offsets, self._client, self._timeout)
            return self._readers[topic]

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise EventLogError("the log is closed")

    @contextmanager
    def _errors(self, topic: str) -> Iterator[None]:
        try:
            yield
        except (KafkaError, OSError) as error:
            refused = f"Kafka at {self._servers} does not do it ({type(error).__name__})"
            # A topic that is not there shows as a timeout: it might be on its way.
            advice = "see whether it runs and `rewardloop init` has made its topics, or set REWARDLOOP_KAFKA_SERVERS"
            raise EventLogError(f"log {self._prefix}{topic}: {refused}: {advice}") from error


def _close_producer(producer: KafkaProducer) -> None:
    """Sends nothing more, at once; what is left of it ends by itself, which no request should wait for."""
    producer._sender.force_close()
    threading.Thread(target=_end, args=(producer,), name="kafka-close", daemon=True).start()


def _end(producer: KafkaProducer) -> None:
    # What it still had was given up, and that is all that this could tell.
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)
