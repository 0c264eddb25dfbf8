"""The log on one machine: a SQLite file a topic, one partition, one writing process, any number of readers."""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Final

from shared.domain import Clock
from shared.eventlog import EventLogError, Position, Record, StoredRecord, refuse_too_large

PARTITION: Final = 0
# One read gives no more than this, so that a reader's memory is bounded whatever the records' sizes.
MAX_READ_BYTES: Final = 16 * 1024 * 1024
# Trimming lets appends in between its transactions.
TRIM_RECORDS: Final = 1000
BUSY_SECONDS: Final = 15.0

# The value stands last: its overflow pages are read only where it is asked for. The head keeps the next offset, so
# that trimming the newest record does not give its offset away again.
SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
BEGIN;
CREATE TABLE records (
    "offset" INTEGER PRIMARY KEY, appended_at INTEGER NOT NULL, key TEXT NOT NULL, headers TEXT NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE head (next_offset INTEGER NOT NULL);
INSERT INTO head VALUES (0);
COMMIT;
"""


class LocalEventLog:
    """The event log's port over `<folder>/<topic>.db`; safe to share between threads.

    Appending to a topic makes this process its one writer until `close`. A topic that nobody has appended to reads
    as empty.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._writers: dict[str, _Writer] = {}
        self._readers: dict[str, _Reader] = {}
        self._closed = False

    def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        refuse_too_large(topic, records)
        if not records:
            return []
        with _log_errors(topic):
            first = self._writer(topic).append(records, self._clock())
        return [Position(topic, PARTITION, first + index) for index in range(len(records))]

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        if partition != PARTITION:
            return []
        with _log_errors(topic):
            return self._reader(topic).read(offset, limit)

    def ends(self, topic: str) -> dict[int, int]:
        with _log_errors(topic):
            return {PARTITION: self._reader(topic).end()}

    def trim(self, topic: str, before: int) -> int:
        """Drops from the oldest record on until one is younger; the file keeps its size and reuses the room."""
        total = 0
        with _log_errors(topic):
            if self.ends(topic) == {PARTITION: 0}:
                return 0
            while dropped := self._writer(topic).trim(before):
                total += dropped
        return total

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for reader in self._readers.values():
                reader.close()
            for writer in self._writers.values():
                writer.close()

    def _writer(self, topic: str) -> "_Writer":
        with self._lock:
            self._refuse_if_closed(topic)
            if topic not in self._writers:
                self._writers[topic] = _Writer(self._folder, topic)
            return self._writers[topic]

    def _reader(self, topic: str) -> "_Reader":
        with self._lock:
            self._refuse_if_closed(topic)
            if topic not in self._readers:
                self._readers[topic] = _Reader(self._folder, topic)
            return self._readers[topic]

    def _refuse_if_closed(self, topic: str) -> None:
        if self._closed:
            raise EventLogError(f"log {topic} is closed")


class _Writer:
    """The only connection that writes a topic's file, and the lock that says so to other processes."""

    def __init__(self, folder: Path, topic: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{topic}.db"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._held = hold(folder / f"{topic}.lock", f"log {topic}")

    def append(self, records: Sequence[Record], now: int) -> int:
        with self._transaction() as connection:
            (first,) = connection.execute("SELECT next_offset FROM head").fetchone()
            rows = (
                (offset, now, record.key, _pack(record.headers), record.value)
                for offset, record in enumerate(records, first)
            )
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("UPDATE head SET next_offset = ?", (first + len(records),))
        return int(first)

    def trim(self, before: int) -> int:
        with self._transaction() as connection:
            oldest = connection.execute(
                'SELECT "offset", appended_at FROM records ORDER BY "offset" LIMIT ?', (TRIM_RECORDS,)
            )
            offsets = [offset for offset, _ in takewhile(lambda row: row[1] < before, oldest.fetchall())]
            if offsets:
                connection.execute('DELETE FROM records WHERE "offset" <= ?', (offsets[-1],))
        return len(offsets)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            os.close(self._held)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection = self._connection or self._connect()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # After a full disk or an I/O error nothing of the connection's state is worth keeping.
                self._disconnect()
                raise

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            _create(self._path)
        connection = _open(self._path, "rw")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Reader:
    """A read-only connection, opened when the file is there; `PRAGMA data_version` tells it whether to look again."""

    def __init__(self, folder: Path, topic: str) -> None:
        self._topic = topic
        self._path = folder / f"{topic}.db"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        self._end = 0

    def end(self) -> int:
        with self._lock:
            connection = self._connect()
            return 0 if connection is None else self._newest(connection)

    def read(self, offset: int, limit: int) -> list[StoredRecord]:
        with self._lock:
            connection = self._connect()
            if connection is None or offset >= self._newest(connection):
                return []
            query = 'SELECT * FROM records WHERE "offset" >= ? ORDER BY "offset" LIMIT ?'
            with closing(connection.execute(query, (offset, limit))) as rows:
                return list(self._within_bounds(rows))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is None and self._path.exists():
            self._connection = _open(self._path, "ro")
        return self._connection

    def _newest(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            (self._end,) = connection.execute("SELECT next_offset FROM head").fetchone()
            self._version = version
        return self._end

    def _within_bounds(self, rows: sqlite3.Cursor) -> Iterator[StoredRecord]:
        size = 0
        for offset, appended_at, key, headers, value in rows:
            record = Record(key, value, _unpack(headers))
            yield StoredRecord(Position(self._topic, PARTITION, offset), record, appended_at)
            size += record.size
            if size >= MAX_READ_BYTES:
                return


@contextmanager
def _log_errors(topic: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise EventLogError(f"log {topic}: {reason}") from error


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _create(path: Path) -> None:
    """Makes the file under another name first: a reader sees all of it or nothing.

    The new name is durable before any append returns: SQLite syncs the folder when it makes the first WAL file in it.
    """
    part = path.with_name(f"{path.name}.new")
    for leftover in path.parent.glob(f"{part.name}*"):
        leftover.unlink()
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
    part.rename(path)


def hold(path: Path, what: str) -> int:
    """The descriptor that holds a writer's lock; it is given back when the descriptor or the process ends.

    Raises:
        EventLogError: another process holds it; the text says which.
    """
    with ExitStack() as undo:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        undo.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise EventLogError(f"{what} is being written by process {holder or 'unknown'}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        undo.pop_all()
        return descriptor


def _pack(headers: Mapping[str, bytes]) -> str:
    # Latin-1 maps every byte to one character and back.
    return json.dumps({name: value.decode("latin-1") for name, value in headers.items()})


def _unpack(text: str) -> dict[str, bytes]:
    return {name: value.encode("latin-1") for name, value in json.loads(text).items()}
