"""Events while the cluster is away: kept, drained in order, refused only where there is no room."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.gateway.spooling import Spooled, SpooledLog, SpoolError
from shared.eventlog import MAX_RECORD_BYTES, EventLogError, Record, RecordTooLargeError
from shared.eventlog.local import LocalEventLog
from tests.unit.services.gateway.fakes import MemoryLog

DECISIONS, FEEDBACK = "decisions", "feedback"


class Cluster(MemoryLog):
    """`broken` makes it go away; `loses_answer` lets it take an append and fail all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.loses_answer = False

    def connect(self) -> None:
        if self.broken:
            raise EventLogError("no broker")

    def append(self, topic: str, records: object) -> object:  # type: ignore[override] # passes them on
        told = super().append(topic, records)  # type: ignore[arg-type] # as it came
        if self.loses_answer:
            raise EventLogError("no answer")
        return told


class Bench:
    """A spool of a thousand bytes, restarted on demand, whose clock a test may turn back."""

    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.folder = folder
        self.cluster = Cluster()
        self.now = 1_000_000
        self._closing = closing
        self.log = self.start()

    def start(self) -> SpooledLog:
        self.log = SpooledLog(
            self.cluster,
            self.cluster,
            self.folder,
            lambda: self.now,
            topics=(DECISIONS, FEEDBACK),
            most_bytes=1000,
        )
        self._closing.callback(self.log.close)
        return self.log

    def append(self, *numbers: int, topic: str = DECISIONS) -> None:
        self.now += 1
        self.log.append(topic, [record(number) for number in numbers])

    def drain(self) -> None:
        while self.log.step():
            pass

    def arrived(self, topic: str = DECISIONS) -> list[int]:
        return [int(one.value) for one in self.cluster.topics.get(topic, [])]

    def waiting(self, topic: str = DECISIONS) -> int:
        return self.log.spooled()[topic].events


def record(number: int) -> Record:
    return Record(f"key/{number % 3}", b"%d" % number, {"ce_id": b"%d" % number})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as closing:
        yield Bench(tmp_path / "spool", closing)


def test_events_go_straight_to_a_cluster_that_is_there(bench: Bench) -> None:
    bench.drain()
    bench.append(1, 2)
    assert bench.arrived() == [1, 2]
    assert bench.log.spooled() == {DECISIONS: Spooled(0, 0), FEEDBACK: Spooled(0, 0)}


def test_events_of_an_outage_come_after_those_before_and_before_those_after_it(bench: Bench) -> None:
    bench.drain()
    bench.append(1)
    bench.cluster.broken = True
    bench.append(2, 3)
    bench.append(4)
    assert bench.waiting() == 3
    with pytest.raises(EventLogError):
        bench.log.step()
    bench.cluster.broken = False
    bench.append(5)
    assert bench.arrived() == [1]
    bench.drain()
    bench.append(6)
    assert bench.arrived() == [1, 2, 3, 4, 5, 6]
    assert bench.waiting() == 0


def test_an_event_whose_answer_was_lost_comes_again_before_later_ones(bench: Bench) -> None:
    bench.drain()
    bench.cluster.loses_answer = True
    bench.append(1)
    bench.cluster.loses_answer = False
    bench.append(2)
    bench.drain()
    assert bench.arrived() == [1, 1, 2]


def test_one_topic_that_fails_spares_the_others_the_wait(bench: Bench) -> None:
    bench.drain()
    bench.cluster.broken = True
    bench.append(1)
    bench.cluster.broken = False
    bench.append(1, topic=FEEDBACK)
    assert bench.waiting(FEEDBACK) == 1
    bench.drain()
    assert bench.arrived(FEEDBACK) == [1]


def test_a_process_that_is_killed_leaves_what_waits_to_the_next_one(bench: Bench) -> None:
    bench.cluster.broken = True
    bench.append(1)
    bench.append(2)
    size = bench.log.spooled()[DECISIONS].size
    bench.log.close()
    bench.cluster.broken = False
    bench.start()
    assert bench.log.spooled()[DECISIONS] == Spooled(2, size)
    bench.append(3)
    bench.drain()
    assert bench.arrived() == [1, 2, 3]
    assert bench.waiting() == 0
    bench.log.close()
    bench.start()
    assert bench.waiting() == 0


def test_a_clock_that_steps_back_drops_nothing_that_was_not_drained(bench: Bench) -> None:
    bench.cluster.broken = True
    bench.append(1)
    bench.now -= 500_000
    bench.append(2)
    bench.cluster.broken = False
    bench.drain()
    bench.cluster.broken = True
    bench.append(3)
    bench.now -= 100_000
    bench.append(4)
    bench.log.close()
    bench.cluster.broken = False
    bench.start()
    bench.drain()
    assert bench.arrived() == [1, 2, 3, 4]


def test_a_full_spool_refuses_until_it_is_drained(bench: Bench) -> None:
    bench.cluster.broken = True
    kept = 1000 // record(10).size
    bench.append(*range(10, 10 + kept))
    with pytest.raises(SpoolError, match="the spool is full: 1000 bytes"):
        bench.append(98)
    with pytest.raises(SpoolError):
        bench.append(98, 99, topic=FEEDBACK)
    bench.cluster.broken = False
    bench.drain()
    bench.append(99)
    assert bench.arrived() == [*range(10, 10 + kept), 99]


def test_a_folder_has_one_gateway(bench: Bench) -> None:
    with pytest.raises(EventLogError, match=r"spool .* is being written by process \d+"):
        bench.start()


def test_a_spool_that_cannot_be_written_says_so(bench: Bench, tmp_path: Path) -> None:
    bench.log.close()
    other = LocalEventLog(bench.folder, lambda: 1)
    other.append(DECISIONS, [record(1)])
    bench.start()
    with pytest.raises(SpoolError, match="and the spool's log decisions is being written by process"):
        bench.append(2)
    other.close()


def test_ends_are_refused_while_events_wait_that_belong_behind_them(bench: Bench) -> None:
    bench.drain()
    bench.append(1)
    assert bench.log.ends(DECISIONS) == {0: 1}
    bench.cluster.broken = True
    bench.append(2)
    with pytest.raises(EventLogError, match="1 events wait"):
        bench.log.ends(DECISIONS)


def test_a_record_that_is_too_large_is_refused_whether_the_cluster_is_there_or_not(bench: Bench) -> None:
    large = Record("key", bytes(MAX_RECORD_BYTES))
    for _ in range(2):
        with pytest.raises(RecordTooLargeError):
            bench.log.append(DECISIONS, [large])
        bench.drain()
    assert bench.arrived() == []
