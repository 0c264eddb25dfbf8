"""What the platform does with a real Kafka besides the port's contract: topics, errors, partitions, outages."""

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaProducer
from uuid_utils import uuid7

from deploy.local.kafka import KafkaServer
from deploy.local.server import free_port
from services.feedback.intake import take_in
from services.gateway.spooling import SpooledLog
from shared.clocks import wall
from shared.eventlog import EventLog, EventLogError, Record, StoredRecord
from shared.eventlog.kafka import KafkaEventLog
from shared.eventlog.settings import KafkaSettings
from shared.eventlog.topics import prepare_topics
from shared.events import DECISIONS, FEEDBACK, MODELS
from tests.integration.test_joiner import until

# kafka-python leaves a socket that was refused to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

PARTITIONS = 3
KEYS = 5


@pytest.fixture(autouse=True)
def _collect(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """That happens here, not in the middle of somebody else's test; a log record would keep it alive until then."""
    caplog.set_level(logging.CRITICAL, "kafka")
    yield
    gc.collect()


@pytest.fixture(scope="module")
def broker(kafka_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that a test may stop; where there can be none, the fixture that all tests share has skipped this one."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.stop()


def settings_of(servers: str, **changes: object) -> KafkaSettings:
    given = {"kafka_servers": servers, "kafka_topic_prefix": f"{uuid7()}.", "kafka_partitions": PARTITIONS} | changes
    return KafkaSettings(**given)  # type: ignore[arg-type] # by name


def test_topics_are_made_once_and_one_with_other_partitions_is_told_and_left(kafka_servers: str) -> None:
    settings = settings_of(kafka_servers)
    made = list(prepare_topics(settings, [DECISIONS, MODELS]))
    assert [line.split(" ", 2)[2] for line in made] == ["was made, with 3 partitions", "was made, with 1 partition"]
    again = list(prepare_topics(settings, [DECISIONS, MODELS]))
    assert [line.split(" ", 2)[2] for line in again] == ["is there, with 3 partitions", "is there, with 1 partition"]
    (told,) = prepare_topics(settings.model_copy(update={"kafka_partitions": 4}), [DECISIONS])
    assert "with 3 partitions, not 4 as REWARDLOOP_KAFKA_PARTITIONS says" in told
    log = KafkaEventLog(settings, wall)
    assert sorted(log.ends(DECISIONS)) == [0, 1, 2]
    log.close()


def test_a_topic_that_nobody_made_is_named_with_what_to_do(kafka_servers: str) -> None:
    log = KafkaEventLog(settings_of(kafka_servers, kafka_timeout=1.0), wall)
    with pytest.raises(EventLogError, match="rewardloop init"):
        log.append(DECISIONS, [Record("key", b"value")])
    assert log.ends(DECISIONS) == {}
    log.close()


def test_a_broker_that_does_not_answer_is_named_with_what_to_do() -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = settings_of(address, kafka_timeout=0.5)
    log = KafkaEventLog(settings, wall)
    threads = threading.active_count()
    for call in (
        lambda: log.append(DECISIONS, [Record("key", b"value")]),
        lambda: log.read(DECISIONS, 0, 0, 1),
        lambda: log.ends(DECISIONS),
        lambda: list(prepare_topics(settings)),
    ):
        with pytest.raises(EventLogError, match=rf"Kafka at {address} .*REWARDLOOP_KAFKA_SERVERS"):
            call()
    assert threading.active_count() == threads
    log.close()


def test_a_key_has_one_partition_number_in_every_topic(kafka_servers: str) -> None:
    """Feedback is found where its decision is."""
    settings = settings_of(kafka_servers)
    list(prepare_topics(settings, [DECISIONS, FEEDBACK]))
    log = KafkaEventLog(settings, wall)
    records = [Record(f"acme/news/{uuid7()}", b"") for _ in range(30)]
    decisions, feedback = (log.append(topic, records) for topic in (DECISIONS, FEEDBACK))
    assert [one.partition for one in decisions] == [one.partition for one in feedback]
    assert {one.partition for one in decisions} == set(range(PARTITIONS))
    log.close()


def everything(log: EventLog, partition: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while read := log.read(DECISIONS, partition, len(found), 1000):
        found += read
    return found


def test_readers_of_one_topic_keep_their_places_though_one_stays_away(
    kafka_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a partition's reader is bounded: whoever comes later finds all of it in the log."""
    monkeypatch.setattr("shared.eventlog.kafka_reading.MOST_WAITING_BYTES", 1000)
    settings = settings_of(kafka_servers)
    list(prepare_topics(settings, [DECISIONS]))
    log, written = KafkaEventLog(settings, wall), 0
    for partition in range(PARTITIONS):
        log.read(DECISIONS, partition, 0, 1)
    read: list[StoredRecord] = []
    for _ in range(5):
        log.append(DECISIONS, [Record(f"key/{written + number}", b"x" * 200) for number in range(100)])
        written += 100
        end = log.ends(DECISIONS)[0]
        while len(read) < end:
            read += log.read(DECISIONS, 0, len(read), 7)
    others = [one for partition in range(1, PARTITIONS) for one in everything(log, partition)]
    assert [one.position.offset for one in read] == list(range(len(read)))
    keys = [one.record.key for one in (*read, *others)]
    assert sorted(keys) == sorted(f"key/{number}" for number in range(written))
    log.close()


class Writer:
    """Appends numbered events of a few keys without a pause; each that is acknowledged is noted."""

    def __init__(self, log: SpooledLog) -> None:
        self.acknowledged: list[int] = []
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def writes(self, more: int) -> None:
        target = len(self.acknowledged) + more
        until(lambda: len(self.acknowledged) >= target, f"{more} more are acknowledged")

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.001):
            self._log.append(DECISIONS, [Record(f"key/{number % KEYS}", b"%d" % number)])
            self.acknowledged.append(number)
            number += 1


@pytest.mark.parametrize("fault", ["frozen", "killed"])
def test_nothing_is_lost_and_each_key_keeps_its_order_when_the_broker_goes_and_comes(
    broker: KafkaServer, tmp_path: Path, fault: str
) -> None:
    settings = settings_of(broker.address, kafka_timeout=3.0)
    list(prepare_topics(settings, [DECISIONS]))
    with ExitStack() as closing:
        direct, patient = KafkaEventLog(settings, wall, timeout=0.3), KafkaEventLog(settings, wall)
        log = SpooledLog(direct, patient, tmp_path / "spool", wall, topics=[DECISIONS], most_bytes=10**8)
        closing.callback(log.close)
        log.start()
        writer = Writer(log)
        closing.callback(writer.stop)
        until(lambda: sum(patient.ends(DECISIONS).values()) >= 50, "events reach the broker")
        broker.suspend() if fault == "frozen" else broker.kill()
        writer.writes(100)
        assert log.spooled()[DECISIONS].events > 0
        broker.resume() if fault == "frozen" else broker.start()
        until(lambda: log.spooled()[DECISIONS].events == 0, "the spool is drained")
        writer.writes(50)
        writer.stop()
        until(lambda: log.spooled()[DECISIONS].events == 0, "the spool is drained")
        arrived = [
            [int(stored.record.value) for stored in everything(patient, partition) if stored.record.key == f"key/{key}"]
            for key in range(KEYS)
            for partition in range(PARTITIONS)
        ]
        # A repeat stands behind the first, and readers drop it: what counts is where each stands first.
        firsts = [list(dict.fromkeys(numbers)) for numbers in arrived if numbers]
        assert firsts == [sorted(numbers) for numbers in firsts]
        assert sorted(number for numbers in firsts for number in numbers) == writer.acknowledged


def test_records_that_are_not_ours_come_through_for_the_dead_letters(kafka_servers: str) -> None:
    settings = settings_of(kafka_servers, kafka_partitions=1)
    list(prepare_topics(settings, [DECISIONS]))
    producer = KafkaProducer(**settings.kafka_client())
    topic = settings.kafka_topic_prefix + DECISIONS
    producer.send(topic, key=b"\xff", value=None)
    producer.send(topic, key=None, value=b"cut", headers=[("ce_type", b"\xfe")])
    producer.close()
    log = KafkaEventLog(settings, wall)
    first, second = (stored.record for stored in everything(log, 0))
    assert first == Record("\ufffd", b"")
    assert second == Record("", b"cut", {"ce_type": b"\xfe"})
    assert [letter.reason[:13] for letter in take_in(everything(log, 0)).dead] == ["event type is"] * 2
    log.close()
