"""The way into the log while the cluster is away: events are fsynced in a folder here, and drained in order."""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog

from shared.domain import Clock
from shared.eventlog import EventLog, EventLogError, Position, Record, StoredRecord, refuse_too_large
from shared.eventlog.local import PARTITION, LocalEventLog, hold

# Records that one append to the cluster drains.
BATCH: Final = 500
# As many as requests can wait for.
FEW: Final = 50
PAUSE: Final = 0.05
RETRY: Final = 0.5
NEVER: Final = 2**62

logger: Final = structlog.get_logger(__name__)


class SpoolError(EventLogError):
    """Neither the cluster nor the spool takes an event."""


class Cluster(EventLog, Protocol):
    """A log that can be away."""

    def connect(self) -> None:
        """Raises EventLogError where it is."""
        ...


@dataclass(frozen=True, slots=True)
class Spooled:
    """What waits for the cluster."""

    events: int
    size: int


@dataclass(slots=True)
class _Lane:
    """A topic's way in. While it is not direct, everything goes behind what is spooled."""

    topic: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_direct: bool = False
    drained: int = 0
    events: int = 0
    size: int = 0


class SpooledLog:
    """The event log's port over a cluster. `start` begins to drain, and to look for the cluster.

    What the cluster had taken when its answer was lost is drained again: the joiner drops repeats by their ids.
    """

    def __init__(
        self, direct: Cluster, patient: EventLog, folder: Path, clock: Clock, *, topics: Sequence[str], most_bytes: int
    ) -> None:
        """`direct` and `patient` are the same cluster: requests wait for the one, draining and reading for the other.

        Raises:
            EventLogError: another process has the folder, or it cannot be read.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held = hold(folder / "lock", f"spool {folder}")
        self._direct = direct
        self._patient = patient
        self._spool = LocalEventLog(folder, clock)
        self._most_bytes = most_bytes
        self._lanes = {topic: self._found(topic) for topic in topics}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        """Positions in the cluster's topic, or in the spool's: durable in either.

        Raises:
            SpoolError: the cluster is away, and the spool is full or broken.
        """
        refuse_too_large(topic, records)
        lane = self._lanes.get(topic)
        if lane is None:
            # Of a topic that is not worth keeping while the cluster is away.
            return self._direct.append(topic, records)
        with lane.lock:
            if lane.is_direct:
                try:
                    return self._direct.append(topic, records)
                except EventLogError as error:
                    # The other topics' appends would only wait for the same cluster.
                    for each in self._lanes.values():
                        each.is_direct = False
                    logger.warning("spooling", topic=topic, reason=str(error))
            return self._keep(lane, records)

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        return self._patient.read(topic, partition, offset, limit)

    def ends(self, topic: str) -> dict[int, int]:
        """The cluster's ends; refused while events wait, which belong behind them.

        Raises:
            EventLogError: at once while the cluster is away.
        """
        lane = self._lanes.get(topic)
        if lane is not None and not lane.is_direct:
            raise EventLogError(f"log {topic}: Kafka is away, and {lane.events} events wait for it")
        return self._patient.ends(topic)

    def trim(self, topic: str, before: int) -> int:
        return self._patient.trim(topic, before)

    def close(self) -> None:
        """What is spooled stays, for the next start."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for log in (self._direct, self._patient, self._spool):
            log.close()
        os.close(self._held)

    def spooled(self) -> Mapping[str, Spooled]:
        """What waits, by topic."""
        return {topic: Spooled(lane.events, lane.size) for topic, lane in self._lanes.items()}

    def step(self) -> bool:
        """Drains a batch of each topic, and opens the direct way where nothing waits; False where nothing was drained.

        Raises:
            EventLogError: the cluster is away.
        """
        drained = [self._drain(lane) for lane in self._lanes.values() if not lane.is_direct]
        return any(drained)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                pause = 0.0 if self.step() else PAUSE
            except EventLogError as error:
                pause = RETRY
                logger.info("draining_waits", reason=str(error))

    def _keep(self, lane: _Lane, records: Sequence[Record]) -> list[Position]:
        size = _size(records)
        if sum(other.size for other in self._lanes.values()) + size > self._most_bytes:
            raise SpoolError(f"log {lane.topic}: Kafka is away and the spool is full: {self._most_bytes} bytes")
        try:
            positions = self._spool.append(lane.topic, records)
        except EventLogError as error:
            raise SpoolError(f"Kafka is away, and the spool's {error}") from error
        lane.events += len(records)
        lane.size += size
        return positions

    def _drain(self, lane: _Lane) -> bool:
        waiting = self._spool.read(lane.topic, PARTITION, lane.drained, BATCH)
        if len(waiting) <= FEW and self._open(lane):
            return False
        if waiting:
            self._patient.append(lane.topic, [stored.record for stored in waiting])
            with lane.lock:
                _count_drained(lane, waiting)
            # Up to the last one, never past it: what was spooled since may carry an earlier time.
            self._spool.trim(lane.topic, waiting[-1].appended_at)
        return bool(waiting)

    def _open(self, lane: _Lane) -> bool:
        """Drains the last few while requests wait, which would else keep the spool from ever being empty."""
        self._direct.connect()
        with lane.lock:
            waiting = self._spool.read(lane.topic, PARTITION, lane.drained, BATCH)
            if len(waiting) > FEW:
                return False
            try:
                self._direct.append(lane.topic, [stored.record for stored in waiting])
            except EventLogError as error:
                logger.info("spooling_goes_on", topic=lane.topic, reason=str(error))
                return False
            _count_drained(lane, waiting)
            self._spool.trim(lane.topic, NEVER)
            lane.is_direct = True
        return True

    def _found(self, topic: str) -> _Lane:
        """What an earlier process left; of its last batch some may be in the cluster."""
        lane = _Lane(topic)
        offset = 0
        while waiting := self._spool.read(topic, PARTITION, offset, BATCH):
            lane.events += len(waiting)
            lane.size += _size([stored.record for stored in waiting])
            offset = waiting[-1].position.offset + 1
        return lane


def _count_drained(lane: _Lane, waiting: Sequence[StoredRecord]) -> None:
    if waiting:
        lane.drained = waiting[-1].position.offset + 1
        lane.events -= len(waiting)
        lane.size -= _size([stored.record for stored in waiting])


def _size(records: Sequence[Record]) -> int:
    return sum(record.size for record in records)
