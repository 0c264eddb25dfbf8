"""What the local log promises beyond the port: one writer a topic, and files that readers never make."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.eventlog import EventLogError, Record
from shared.eventlog.local import LocalEventLog

TOPIC = "rewardloop.feedback"
RECORD = Record("key", b"value")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LocalEventLog]:
    log = LocalEventLog(tmp_path, lambda: 1)
    yield log
    log.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LocalEventLog]:
    log = LocalEventLog(tmp_path, lambda: 1)
    yield log
    log.close()


def test_a_second_writer_is_refused_and_told_who_the_first_is(log: LocalEventLog, other: LocalEventLog) -> None:
    log.append(TOPIC, [RECORD])
    with pytest.raises(EventLogError, match=rf"{TOPIC} is being written by process {os.getpid()}"):
        other.append(TOPIC, [RECORD])
    other.append("rewardloop.experiences", [RECORD])
    log.close()
    assert [position.offset for position in other.append(TOPIC, [RECORD])] == [1]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    log = LocalEventLog(tmp_path / "log", lambda: 1)
    assert log.read(TOPIC, 0, 0, 10) == []
    assert log.ends(TOPIC) == {0: 0}
    assert log.trim(TOPIC, 10) == 0
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_broken_creation_left_is_swept_away(tmp_path: Path, log: LocalEventLog) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        (tmp_path / f"{TOPIC}.db.new{suffix}").write_bytes(b"half of it")
    log.append(TOPIC, [RECORD])
    assert [stored.record for stored in log.read(TOPIC, 0, 0, 10)] == [RECORD]
    assert not list(tmp_path.glob("*.new*"))


def test_a_file_that_is_no_log_is_named(tmp_path: Path, log: LocalEventLog) -> None:
    (tmp_path / f"{TOPIC}.db").write_bytes(b"x" * 8192)
    for use in (lambda: log.append(TOPIC, [RECORD]), lambda: log.ends(TOPIC), lambda: log.read(TOPIC, 0, 0, 1)):
        with pytest.raises(EventLogError, match=f"log {TOPIC}: file is not a database"):
            use()


def test_a_folder_that_cannot_be_made_is_an_error_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file stands where the folder should")
    log = LocalEventLog(tmp_path / "log", lambda: 1)
    with pytest.raises(EventLogError, match=f"log {TOPIC}: File exists"):
        log.append(TOPIC, [RECORD])
    log.close()
