"""Reading from a Kafka cluster by offset: where partitions begin and end, and what stands in one."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError

from shared.eventlog import Position, Record, StoredRecord
from shared.eventlog.kafka_clients import connected

# One read gives no more than about this, so that a reader's memory is bounded whatever the records' sizes.
MAX_READ_BYTES: Final = 16 * 1024 * 1024
FETCH_WAIT_MS: Final = 100
PARTITIONS_SECONDS: Final = 30.0


class Offsets:
    """Where partitions begin and end, asked of the cluster each time; and what retention cannot do, trimming.

    A consumer asks: it remembers who leads a partition, which an admin client looks up for every question.
    """

    def __init__(self, connection: Mapping[str, object], timeout: float) -> None:
        """`timeout` bounds each question, in seconds."""
        self._admin = connected(KafkaAdminClient, **connection)
        try:
            self._consumer = connected(KafkaConsumer, **connection, enable_auto_commit=False)
        except BaseException:
            self._admin.close()
            raise
        self._milliseconds = round(timeout * 1000)
        # Topic → its partitions; they are asked for again now and then, since somebody may add some.
        self._partitions: dict[str, tuple[float, list[TopicPartition]]] = {}

    def ends(self, topic: str) -> dict[int, int]:
        return {at.partition: end for at, end in self._ends(self._of(topic)).items()}

    def end(self, at: TopicPartition) -> int:
        """0 where there is no such partition."""
        return self.ends(at.topic).get(at.partition, 0)

    def has(self, at: TopicPartition, offset: int) -> bool:
        """Whether a partition has a record there or later: retention may have dropped all of them."""
        end = self.end(at)
        return offset < end and max(offset, self._oldest([at])[at]) < end

    def trim(self, topic: str, before: int) -> int:
        """Drops what stands before the first record of a time (milliseconds) or later; returns how many."""
        partitions = self._of(topic)
        ends, oldest = self._ends(partitions), self._oldest(partitions)
        found = self._consumer.offsets_for_times(dict.fromkeys(partitions, before), timeout_ms=self._milliseconds)
        # None: all of it is older.
        kept = {at: ends[at] if first is None else first.offset for at, first in found.items()}
        drops = {at: first for at, first in kept.items() if first > oldest[at]}
        if drops:
            self._admin.delete_records(drops)
        return sum(first - oldest[at] for at, first in drops.items())

    def close(self) -> None:
        self._consumer.close(autocommit=False)
        self._admin.close()

    def _ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(self._consumer.end_offsets(partitions, timeout_ms=self._milliseconds)) if partitions else {}

    def _oldest(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(self._consumer.beginning_offsets(partitions, timeout_ms=self._milliseconds)) if partitions else {}

    def _of(self, topic: str) -> list[TopicPartition]:
        asked_at, partitions = self._partitions.get(topic, (-math.inf, []))
        if not partitions or time.monotonic() - asked_at > PARTITIONS_SECONDS:
            told = self._admin.describe_topics([topic])
            partitions = sorted(TopicPartition(topic, one["partition_index"]) for t in told for one in t["partitions"])
            self._partitions[topic] = (time.monotonic(), partitions)
        return partitions


class PartitionReader:
    """A consumer of one partition: it fetches ahead of who reads on from where it stopped."""

    def __init__(
        self, topic: str, at: TopicPartition, offsets: Offsets, connection: Mapping[str, object], timeout: float
    ) -> None:
        self._topic = topic
        self._at = at
        self._offsets = offsets
        self._connection = connection
        self._timeout = timeout
        self._lock = threading.Lock()
        self._consumer: KafkaConsumer | None = None
        self._next = -1

    def read(self, offset: int, limit: int) -> list[StoredRecord]:
        with self._lock:
            if offset != self._next:
                # Sought beyond the end, a consumer starts again at the oldest record; at the end it waits for more.
                if offset > self._offsets.end(self._at):
                    return []
                self._seek(offset)
            records = self._poll(limit, 0)
            deadline = time.monotonic() + self._timeout
            while not records and self._offsets.has(self._at, offset):
                if time.monotonic() > deadline:
                    raise KafkaTimeoutError(f"nothing of {self._at} within {self._timeout} s")
                records = self._poll(limit, FETCH_WAIT_MS)
            if records:
                self._next = records[-1].position.offset + 1
            return records

    def close(self) -> None:
        with self._lock:
            if self._consumer is not None:
                self._consumer.close(autocommit=False)

    def _seek(self, offset: int) -> None:
        if self._consumer is None:
            self._consumer = connected(
                KafkaConsumer,
                **self._connection,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=FETCH_WAIT_MS,
                fetch_max_bytes=MAX_READ_BYTES,
                max_partition_fetch_bytes=MAX_READ_BYTES,
            )
            self._consumer.assign([self._at])
        self._consumer.seek(self._at, offset)
        self._next = offset

    def _poll(self, limit: int, wait_ms: int) -> list[StoredRecord]:
        assert self._consumer is not None
        found: list[ConsumerRecord] = self._consumer.poll(wait_ms, max_records=limit).get(self._at, [])
        return [_stored(self._topic, one) for one in found]


def _stored(topic: str, found: ConsumerRecord) -> StoredRecord:
    """What is not ours may have no key or no value, and a key that is no text: all of it comes through."""
    record = Record(
        key=(found.key or b"").decode("utf-8", "replace"),
        value=found.value or b"",
        headers={name: value or b"" for name, value in found.headers},
    )
    return StoredRecord(Position(topic, found.partition, found.offset), record, found.timestamp * 1000)
