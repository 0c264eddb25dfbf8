"""The event log's port: durable, ordered by partition, read by offset. Adapters: local.py (one machine)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """An event as the log keeps it: the key picks the partition, the headers are the CloudEvents envelope."""

    key: str
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that count towards MAX_RECORD_BYTES: key, value and headers."""
        headers = sum(map(len, self.headers)) + sum(map(len, self.headers.values()))
        return len(self.key.encode()) + len(self.value) + headers


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one partition of a topic."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record with the place where it stands and the time of its append (microseconds, UTC)."""

    position: Position
    record: Record
    appended_at: int


class EventLogError(RuntimeError):
    """The log cannot take or give records now; the text says which log and why."""


class RecordTooLargeError(EventLogError):
    """A record is larger than the log takes: 2 MiB."""


MAX_RECORD_BYTES = 2 * 1024 * 1024


def refuse_too_large(topic: str, records: Sequence[Record]) -> None:
    """Raises RecordTooLargeError where a record of an append is too large."""
    for record in records:
        if record.size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"log {topic}: a record of {record.size} bytes; {MAX_RECORD_BYTES} at most")


class EventLog(Protocol):
    """Appends are durable when they return; reads start at an offset that the caller keeps."""

    def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        """Positions of the records, once all of them are durable.

        Raises:
            RecordTooLargeError: before anything is written.
            EventLogError: nothing is promised of any of them.
        """
        ...

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        """Records of one partition from an offset on, up to the limit; does not wait.

        Fewer where they are large, but at least one if there is one. Where retention has dropped the offset, it starts
        at the oldest record that is left.
        """
        ...

    def ends(self, topic: str) -> dict[int, int]:
        """For each partition, the offset that the next record will get."""
        ...

    def trim(self, topic: str, before: int) -> int:
        """Drops the records appended before a time (microseconds); returns how many."""
        ...

    def close(self) -> None: ...
