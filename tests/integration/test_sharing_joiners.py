"""Joiners as processes that share the partitions of a real Kafka, on PostgreSQL: one comes, one freezes, one dies."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select
from uuid_utils import uuid7

from shared.db.engine import read_session
from shared.db.tables import ConsumerOffsetRow
from shared.eventlog.topics import prepare_topics
from shared.settings import PlatformSettings
from tests.integration.test_joiner import Feeding, until

PARTITIONS = 4


@pytest.fixture
def feeding(
    kafka_servers: str, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Feeding]:
    settings = {
        "SERVERS": kafka_servers,
        "TOPIC_PREFIX": f"{uuid7()}.",
        "PARTITIONS": str(PARTITIONS),
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"REWARDLOOP_KAFKA_{name}", value)
    monkeypatch.setenv("REWARDLOOP_JOINER_LEASE_SECONDS", "2")
    list(prepare_topics(PlatformSettings(home=tmp_path)))
    with ExitStack() as closing:
        yield Feeding(tmp_path, postgresql_url, closing)


def epochs(feeding: Feeding) -> dict[tuple[str, int], int]:
    """How often each partition has changed hands."""
    of = ConsumerOffsetRow
    with read_session(feeding.engine) as session:
        rows = session.execute(select(of.topic, of.partition, of.epoch).where(of.consumer == "joiner"))
        return {(topic, partition): epoch for topic, partition, epoch in rows}


def test_joiners_share_the_partitions_and_none_repeats_anothers_work(feeding: Feeding) -> None:
    first = feeding.start()
    feeding.take(50)
    until(lambda: feeding.joined() == 50, "one joiner reads all partitions")
    assert set(epochs(feeding).values()) == {1}
    second = feeding.start()
    until(lambda: sorted(epochs(feeding).values()) == [1] * 4 + [2] * 4, "the second has taken half of them")
    taken = {partition for (_, partition), epoch in epochs(feeding).items() if epoch == 2}
    assert len(taken) == PARTITIONS // 2
    feeding.take(200)
    until(lambda: feeding.joined() == 250, "both join")
    feeding.freeze(second)
    feeding.take(100)
    until(lambda: feeding.joined() == 350, "the first has taken over from the frozen one")
    second.send_signal(signal.SIGCONT)
    feeding.take(100)
    until(lambda: feeding.joined() == 450, "both join again")
    os.kill(first.pid, signal.SIGKILL)
    feeding.take(100)
    feeding.assert_exactly_once()
    assert second.poll() is None
