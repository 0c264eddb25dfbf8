"""Records that cannot be read, on a real Kafka and on the local log, with a joiner as a process beside them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaProducer
from sqlalchemy import select
from uuid_utils import uuid7

from shared.db.engine import read_session, write_session
from shared.db.statistics import read_statistics
from shared.db.tables import DeadLetterRow, LoopRow
from shared.eventlog import Record
from shared.eventlog.envelopes import unpacked
from shared.eventlog.topics import prepare_topics
from shared.events import DEAD_LETTERS, DECISIONS, FEEDBACK, decision_record
from shared.settings import PlatformSettings
from tests.integration.test_joiner import LOOP, Feeding, decision, until

MEGABYTE = 1024 * 1024


@pytest.fixture(params=["local", "kafka"])
def feeding(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feeding]:
    url = None
    if request.param == "kafka":
        monkeypatch.setenv("REWARDLOOP_KAFKA_SERVERS", request.getfixturevalue("kafka_servers"))
        monkeypatch.setenv("REWARDLOOP_KAFKA_TOPIC_PREFIX", f"{uuid7()}.")
        monkeypatch.setenv("REWARDLOOP_KAFKA_PARTITIONS", "2")
        list(prepare_topics(PlatformSettings(home=tmp_path)))
        url = request.getfixturevalue("postgresql_url")
    with ExitStack() as closing:
        yield Feeding(tmp_path, url, closing)


def foreign() -> dict[str, Record]:
    """By a part of the reason that is to be told."""
    whole = decision_record(decision(0))
    return {
        "event type is ''": Record("", b"{}"),
        "event type is 'com.example.Order'": Record("someone/elses", b"{}", {"ce_type": b"com.example.Order"}),
        "event type is 'rewardloop.events.v2.DecisionMade'": replace(
            whole, headers={**whole.headers, "ce_type": b"rewardloop.events.v2.DecisionMade"}
        ),
        "payload is not a rewardloop.events.v1.DecisionMade": replace(whole, value=whole.value[:40]),
        "event type is '\ufffd'": Record("", os.urandom(MEGABYTE), {"ce_type": b"\xff"}),
    }


def put_around(feeding: Feeding, records: list[Record]) -> None:
    """Between decisions and feedback that are whole."""
    for record in records:
        feeding.log.append(FEEDBACK, [record])
        feeding.take(10)


def dead_letters(feeding: Feeding) -> list[DeadLetterRow]:
    with read_session(feeding.engine) as session:
        rows = session.scalars(select(DeadLetterRow).order_by(DeadLetterRow.appended_at)).all()
        session.expunge_all()
    return list(rows)


def counts(feeding: Feeding, loop_id: str) -> dict[str, int]:
    """Those that are not 0."""
    with read_session(feeding.engine) as session:
        found = read_statistics(session, LOOP[0], loop_id).counts
    return {name: count for name, count in found.items() if count}


def test_what_is_not_ours_is_put_aside_with_its_place_and_reason_and_stalls_nothing(feeding: Feeding) -> None:
    feeding.start()
    records = foreign()
    put_around(feeding, list(records.values()))
    feeding.assert_exactly_once()
    letters = dead_letters(feeding)
    assert len(letters) == len(records)
    for part, record in records.items():
        (letter,) = (one for one in letters if part in one.reason)
        (stored,) = feeding.log.read(letter.topic, letter.partition, letter.offset, 1)
        assert stored.record == record == unpacked(letter.envelope, letter.payload)
    assert sum(feeding.log.ends(DEAD_LETTERS).values()) == len(records)


@pytest.mark.parametrize("feeding", ["kafka"], indirect=True)
def test_a_record_that_is_larger_than_any_event_is_put_aside_too(feeding: Feeding) -> None:
    settings = PlatformSettings(home=feeding.home)
    producer = KafkaProducer(**settings.kafka_client(), max_request_size=4 * MEGABYTE)
    producer.send(settings.kafka_topic_prefix + DECISIONS, value=os.urandom(3 * MEGABYTE)).get(timeout=60)
    producer.close()
    feeding.start()
    feeding.take(20)
    feeding.assert_exactly_once()
    (letter,) = dead_letters(feeding)
    assert len(letter.payload) == 3 * MEGABYTE


def test_an_event_that_is_replayed_once_its_loop_is_there_is_joined_once(feeding: Feeding) -> None:
    feeding.start()
    early = replace(decision(0), loop_id="later", decision_id="early")
    feeding.log.append(DECISIONS, [decision_record(early)])
    until(lambda: len(dead_letters(feeding)) == 1, "it is put aside")
    (letter,) = dead_letters(feeding)
    assert (letter.tenant, letter.reason) == (early.tenant, "its loop is not known")
    with write_session(feeding.engine) as session:
        body = {"modalities": {"title": {"kind": "text"}}}
        session.add(LoopRow(tenant=early.tenant, loop_id="later", settings=body, settings_revision=1, created_at=1))
    for _ in range(2):
        feeding.log.append(letter.topic, [unpacked(letter.envelope, letter.payload)])
    wanted = {"decisions": 1, "duplicate_decisions": 1, "dead_letters": 1}
    until(lambda: counts(feeding, "later") == wanted, "it is joined, and its repeat is dropped")
