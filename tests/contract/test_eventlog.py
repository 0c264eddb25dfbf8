"""What every adapter of the event log's port keeps to; Kafka's is held to it on a real broker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils import uuid7

from shared.domain import Clock
from shared.eventlog import (
    MAX_RECORD_BYTES,
    EventLog,
    EventLogError,
    Position,
    Record,
    RecordTooLargeError,
    StoredRecord,
)
from shared.eventlog.kafka import KafkaEventLog
from shared.eventlog.local import LocalEventLog
from shared.eventlog.settings import KafkaSettings
from shared.eventlog.topics import prepare_topics

ADAPTERS = ("kafka", "local")
TOPIC = "rewardloop.decisions"

Opener = Callable[[Clock], EventLog]


@dataclass
class Store:
    """One log that several handles are open on, as several processes would have them."""

    opener: Opener
    closing: ExitStack
    now: int = 1_000_000

    def open(self) -> EventLog:
        log = self.opener(lambda: self.now)
        self.closing.callback(log.close)
        return log


def new_log(adapter: str, folder: Path, request: pytest.FixtureRequest) -> Opener:
    """An empty log: a folder of its own, or topics of their own with two partitions on the broker."""
    if adapter == "local":
        return lambda clock: LocalEventLog(folder, clock)
    settings = KafkaSettings(
        kafka_servers=request.getfixturevalue("kafka_servers"),
        kafka_topic_prefix=f"{uuid7()}.",
        kafka_partitions=2,
        # The test's clock stands in 1970: its records must not be too old to be kept.
        kafka_retention_days=30_000,
    )
    assert len(list(prepare_topics(settings, [TOPIC]))) == 1
    return lambda clock: KafkaEventLog(settings, clock)


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as closing:
        yield Store(new_log(request.param, tmp_path / "log", request), closing)


def record(number: int) -> Record:
    return Record(f"acme/news/{number}", f"event {number}".encode(), {"ce_id": b"%d" % number})


def everything(log: EventLog, topic: str = TOPIC, limit: int = 1000) -> list[StoredRecord]:
    return [stored for partition in log.ends(topic) for stored in log.read(topic, partition, 0, limit)]


def test_records_come_back_as_they_were_at_the_positions_that_append_told(store: Store) -> None:
    log = store.open()
    positions = log.append(TOPIC, [record(number) for number in range(5)])
    found = {stored.position: stored.record for stored in everything(log)}
    assert found == {position: record(number) for number, position in enumerate(positions)}


def test_offsets_have_no_gaps_within_a_partition_and_survive_reopening(store: Store) -> None:
    for batch in range(3):
        log = store.open()
        log.append(TOPIC, [record(batch), record(batch)])
        log.close()
    log = store.open()
    for partition, end in log.ends(TOPIC).items():
        offsets = [stored.position.offset for stored in log.read(TOPIC, partition, 0, 100)]
        assert offsets == list(range(end))


def test_a_key_stays_in_one_partition_in_order_of_append(store: Store) -> None:
    log = store.open()
    for number in range(20):
        log.append(TOPIC, [Record("acme/news/1", b"%d" % number)])
    found = everything(log)
    assert len({stored.position.partition for stored in found}) == 1
    assert [stored.record.value for stored in found] == [b"%d" % number for number in range(20)]


def test_reading_starts_at_the_offset_and_stops_at_the_limit(store: Store) -> None:
    log = store.open()
    (first, *_) = log.append(TOPIC, [Record("one key", b"%d" % number) for number in range(10)])
    read = log.read(TOPIC, first.partition, 4, 3)
    assert [stored.position.offset for stored in read] == [4, 5, 6]
    assert log.read(TOPIC, first.partition, 10, 3) == []
    assert log.read(TOPIC, first.partition, 99, 3) == []


def test_a_topic_that_nobody_appended_to_is_empty_until_somebody_does(store: Store) -> None:
    reader, writer = store.open(), store.open()
    assert everything(reader) == []
    assert set(reader.ends(TOPIC).values()) <= {0}
    writer.append(TOPIC, [record(1)])
    assert [stored.record for stored in everything(reader)] == [record(1)]


def test_a_reader_sees_every_append_of_another_handle_at_once(store: Store) -> None:
    reader, writer = store.open(), store.open()
    for number in range(10):
        writer.append(TOPIC, [record(number)])
        assert sum(reader.ends(TOPIC).values()) == number + 1
        assert len(everything(reader)) == number + 1


def test_an_append_carries_its_time(store: Store) -> None:
    log = store.open()
    for moment in (5_000_000, 7_000_000):
        store.now = moment
        log.append(TOPIC, [Record("one key", b"")])
    assert [stored.appended_at for stored in everything(log)] == [5_000_000, 7_000_000]


def test_a_record_that_is_too_large_stops_the_batch_before_anything_is_written(store: Store) -> None:
    log = store.open()
    large = Record("key", bytes(MAX_RECORD_BYTES - 3))
    assert large.size == MAX_RECORD_BYTES
    log.append(TOPIC, [large])
    with pytest.raises(RecordTooLargeError):
        log.append(TOPIC, [record(1), Record("key", bytes(MAX_RECORD_BYTES - 2))])
    assert [stored.record for stored in everything(log)] == [large]


def test_appending_nothing_does_nothing(store: Store) -> None:
    log = store.open()
    assert log.append(TOPIC, []) == []
    assert everything(log) == []


def test_a_long_read_gives_some_and_the_next_one_the_rest(store: Store) -> None:
    log = store.open()
    records = [Record("one key", bytes(MAX_RECORD_BYTES // 2)) for _ in range(40)]
    (first, *_) = log.append(TOPIC, records)
    offset = 0
    while read := log.read(TOPIC, first.partition, offset, 100):
        assert read[0].position.offset == offset
        offset = read[-1].position.offset + 1
    assert offset == len(records)


def test_trimming_drops_the_old_and_never_gives_an_offset_again(store: Store) -> None:
    log = store.open()
    for store.now in (1_000_000, 2_000_000, 3_000_000):
        (position,) = log.append(TOPIC, [Record("one key", b"%d" % store.now)])
    assert log.trim(TOPIC, 3_000_000) == 2
    assert [stored.position for stored in log.read(TOPIC, position.partition, 0, 10)] == [position]
    assert log.trim(TOPIC, 9_000_000) == 1
    assert everything(log) == []
    (after,) = log.append(TOPIC, [Record("one key", b"")])
    assert after == Position(TOPIC, position.partition, position.offset + 1)


def test_trimming_a_topic_that_is_not_there_drops_nothing(store: Store) -> None:
    assert store.open().trim(TOPIC, 1) == 0


def test_a_closed_log_says_so(store: Store) -> None:
    log = store.open()
    log.append(TOPIC, [record(1)])
    log.close()
    log.close()
    with pytest.raises(EventLogError):
        log.append(TOPIC, [record(2)])
    with pytest.raises(EventLogError):
        log.ends(TOPIC)


def test_threads_may_append_and_look_at_the_end_at_once(store: Store) -> None:
    log = store.open()
    appended: dict[Position, Record] = {}
    seen: list[int] = []

    def append(worker: int) -> None:
        for number in range(25):
            batch = [record(worker * 1000 + number), record(worker * 1000 + number + 500)]
            appended.update(zip(log.append(TOPIC, batch), batch, strict=True))
            seen.append(sum(log.ends(TOPIC).values()))

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {stored.position: stored.record for stored in everything(log)} == appended
    assert len(appended) == max(seen) == 200


RECORDS = st.builds(
    Record,
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    value=st.binary(max_size=200),
    headers=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.binary(max_size=20)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(RECORDS, max_size=5), max_size=5))
def test_whatever_bytes_go_in_come_out(store: Store, batches: list[list[Record]]) -> None:
    with ExitStack() as closing:
        here = Store(store.opener, closing)
        writer, reader = here.open(), here.open()
        # What the examples before this one have appended stays.
        expected = {stored.position: stored.record for stored in everything(reader)}
        for batch in batches:
            expected.update(zip(writer.append(TOPIC, batch), batch, strict=True))
            assert {stored.position: stored.record for stored in everything(reader)} == expected
