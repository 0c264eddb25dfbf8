"""Reading from a Kafka cluster by offset: where partitions begin and end, and what stands in one."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError

from shared.eventlog import Position, Record, StoredRecord
from shared.eventlog.kafka_clients import connected

# One answer brings no more than about this, and no more than this waits of a partition that nobody reads, so that
# memory is bounded whatever the records' sizes.
FETCH_BYTES: Final = 4 * 1024 * 1024
MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
FETCH_WAIT_MS: Final = 100
# Who reads knows as a rule that there is something: before asking whether there is, it is waited for.
READ_WAIT_MS: Final = 20
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


class TopicReader:
    """One consumer for all partitions of a topic that somebody reads: one question brings what is new in any of them.

    It fetches ahead of who reads on from where it stopped; what a question brings of other partitions waits for its
    reader. A partition whose reader does not come is not followed any more. (A consumer's `pause` would keep it from
    growing too, but kafka-python 3.0 may keep back for good what it has of a paused partition.)
    """

    def __init__(
        self, topic: str, name: str, offsets: Offsets, connection: Mapping[str, object], timeout: float
    ) -> None:
        """`name` is the topic's in the cluster."""
        self._topic = topic
        self._name = name
        self._offsets = offsets
        self._connection = connection
        self._timeout = timeout
        self._lock = threading.Lock()
        self._consumer: KafkaConsumer | None = None
        self._followed: dict[int, _Followed] = {}

    def read(self, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        at = TopicPartition(self._name, partition)
        with self._lock:
            followed = self._followed.get(partition)
            if followed is None or followed.next != offset:
                # Sought beyond the end, a consumer starts again at the oldest record; at the end it waits for more.
                if offset > self._offsets.end(at):
                    return []
                followed = self._follow(at, offset)
            records = self._take(followed, limit, READ_WAIT_MS)
            deadline = time.monotonic() + self._timeout
            while not records and self._offsets.has(at, offset):
                if time.monotonic() > deadline:
                    raise KafkaTimeoutError(f"nothing of {at} within {self._timeout} s")
                records = self._take(followed, limit, FETCH_WAIT_MS)
            return records

    def close(self) -> None:
        with self._lock:
            if self._consumer is not None:
                self._consumer.close(autocommit=False)

    def _follow(self, at: TopicPartition, offset: int) -> "_Followed":
        if self._consumer is None:
            self._consumer = connected(
                KafkaConsumer,
                **self._connection,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=FETCH_WAIT_MS,
                fetch_max_bytes=FETCH_BYTES,
                max_partition_fetch_bytes=FETCH_BYTES,
            )
        followed = self._followed[at.partition] = _Followed(offset)
        self._assign()
        self._consumer.seek(at, offset)
        return followed

    def _assign(self) -> None:
        """Those that were followed before keep their places."""
        assert self._consumer is not None
        self._consumer.assign([TopicPartition(self._name, partition) for partition in self._followed])

    def _take(self, followed: "_Followed", limit: int, wait_ms: int) -> list[StoredRecord]:
        """What waits of one partition, or comes within so long."""
        until = time.monotonic() + wait_ms / 1000
        while not followed.records and (left := until - time.monotonic()) > 0:
            self._fetch(followed, limit, round(left * 1000))
        return followed.take(limit)

    def _fetch(self, for_whom: "_Followed", limit: int, wait_ms: int) -> None:
        assert self._consumer is not None
        found: Mapping[TopicPartition, list[ConsumerRecord]] = self._consumer.poll(wait_ms, max_records=limit)
        for at, records in found.items():
            self._followed[at.partition].add(_stored(self._topic, one) for one in records)
        left = [
            partition
            for partition, followed in self._followed.items()
            if followed.bytes > MOST_WAITING_BYTES and followed is not for_whom
        ]
        for partition in left:
            del self._followed[partition]
        if left:
            self._assign()


@dataclass(slots=True)
class _Followed:
    """What was fetched of a partition and is not given out yet; `next` is the offset behind what was given out."""

    next: int
    records: deque[StoredRecord] = field(default_factory=deque)
    bytes: int = 0

    def add(self, records: Iterable[StoredRecord]) -> None:
        for one in records:
            self.records.append(one)
            self.bytes += one.record.size

    def take(self, limit: int) -> list[StoredRecord]:
        taken = [self.records.popleft() for _ in range(min(limit, len(self.records)))]
        if taken:
            self.next = taken[-1].position.offset + 1
            self.bytes -= sum(one.record.size for one in taken)
        return taken


def _stored(topic: str, found: ConsumerRecord) -> StoredRecord:
    """What is not ours may have no key or no value, and a key that is no text: all of it comes through."""
    record = Record(
        key=(found.key or b"").decode("utf-8", "replace"),
        value=found.value or b"",
        headers={name: value or b"" for name, value in found.headers},
    )
    return StoredRecord(Position(topic, found.partition, found.offset), record, found.timestamp * 1000)
