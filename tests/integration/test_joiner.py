"""The joiner as a process, on a real log and database: killed, frozen and stopped in mid-stream."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from shared.clocks import wall
from shared.db.engine import open_engine, read_session, write_session
from shared.db.statistics import LoopStatistics, read_statistics
from shared.db.tables import DecisionRow, ExperienceRow, FeedbackRow, LoopRow
from shared.db.upgrading import upgrade
from shared.domain import Action, Decision, Experience, Feedback
from shared.eventlog.opening import open_event_log
from shared.events import DECISIONS, EXPERIENCES, FEEDBACK, decision_record, event_from_record, feedback_record
from shared.loop_settings import LoopSettings
from shared.settings import PlatformSettings

LOOP = ("acme", "news")


def until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Feeding:
    """The gateway's part: a log that this process writes, a database with one loop, and joiners to start."""

    def __init__(self, home: Path, database_url: str | None, closing: ExitStack) -> None:
        self.home = home
        platform = PlatformSettings(home=home, database_url=database_url)
        self.environment = os.environ | {"REWARDLOOP_HOME": str(home), "REWARDLOOP_DATABASE_URL": platform.database}
        self.engine = open_engine(platform.database)
        closing.callback(self.engine.dispose)
        upgrade(self.engine)
        settings = LoopSettings.model_validate({"modalities": {"title": {"kind": "text"}}})
        with write_session(self.engine) as session:
            body = settings.model_dump(mode="json")
            session.add(LoopRow(tenant=LOOP[0], loop_id=LOOP[1], settings=body, settings_revision=1, created_at=1))
        self.log = open_event_log(platform, wall)
        closing.callback(self.log.close)
        self.rewards: list[float] = []
        self._closing = closing

    def start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "services.feedback"],
            env=self.environment | {"REWARDLOOP_JOINER_BATCH": "25"},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._closing.callback(process.communicate)
        self._closing.callback(process.kill)
        return process

    def freeze(self, process: "subprocess.Popen[str]") -> None:
        """Stops it; on SQLite between transactions: frozen in one, it would keep the only write lock until it wakes."""
        process.send_signal(signal.SIGSTOP)
        while self.engine.dialect.name == "sqlite":
            process.send_signal(signal.SIGSTOP)
            with closing(sqlite3.connect(str(self.engine.url.database), timeout=0)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    process.send_signal(signal.SIGCONT)
                    time.sleep(0.01)
                else:
                    return

    def take(self, count: int) -> None:
        """Decisions and their feedback, all acknowledged."""
        numbers = range(len(self.rewards), len(self.rewards) + count)
        self.log.append(DECISIONS, [decision_record(decision(number)) for number in numbers])
        feedback = [
            Feedback(*LOOP, f"f-{number}", f"d-{number}", "reward", float(number % 3 == 0), wall())
            for number in numbers
        ]
        self.log.append(FEEDBACK, [feedback_record(one) for one in feedback])
        self.rewards += [float(one.value) for one in feedback]

    def statistics(self) -> LoopStatistics:
        with read_session(self.engine) as session:
            return read_statistics(session, *LOOP)

    def joined(self) -> int:
        return self.statistics().last_sequence

    def has_joined(self, count: int) -> bool:
        return self.joined() >= count

    def assert_exactly_once(self) -> None:
        """Every event is in the tables once, and every experience in the log, in order, at least once."""
        until(lambda: self.statistics().published_sequence == len(self.rewards), "everything is joined and published")
        found = self.statistics()
        assert {name: count for name, count in found.counts.items() if count} == {
            "decisions": len(self.rewards),
            "feedback": len(self.rewards),
        }
        with read_session(self.engine) as session:
            rows = session.execute(
                select(ExperienceRow.sequence, ExperienceRow.decision_id, ExperienceRow.reward)
            ).all()
            stored = session.scalar(select(func.count()).select_from(DecisionRow))
            fed = session.scalar(select(func.count()).select_from(FeedbackRow))
        assert stored == fed == len(self.rewards)
        assert sorted(row.sequence for row in rows) == list(range(1, len(self.rewards) + 1))
        assert {row.decision_id: row.reward for row in rows} == {
            f"d-{number}": reward for number, reward in enumerate(self.rewards)
        }
        partitions = self.log.ends(EXPERIENCES)
        log = [one for partition in partitions for one in self.log.read(EXPERIENCES, partition, 0, 100_000)]
        events = [event_from_record(one.record) for one in log]
        sequences = [one.sequence for one in events if isinstance(one, Experience)]
        assert list(dict.fromkeys(sequences)) == list(range(1, len(self.rewards) + 1))


def decision(number: int) -> Decision:
    return Decision(
        tenant=LOOP[0],
        loop_id=LOOP[1],
        decision_id=f"d-{number}",
        decided_at=wall(),
        context={"title": "Red shoe"},
        actions=[Action("a"), Action("b")],
        action_id="b",
        probability=0.75,
        probabilities=np.array([0.25, 0.75]),
        seed=number,
        settings_revision=1,
        request_sha256=hashlib.sha256(b"%d" % number).digest(),
        model_version=1,
        state=np.zeros(8, np.float32),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def feeding(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feeding]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    with ExitStack() as closing:
        yield Feeding(tmp_path, url, closing)


def test_every_event_is_joined_exactly_once_however_often_the_joiner_is_killed(feeding: Feeding) -> None:
    for _ in range(3):
        process = feeding.start()
        enough = feeding.joined() + 50
        feeding.take(300)
        until(partial(feeding.has_joined, enough), "the joiner is in mid-stream")
        process.kill()
        process.wait()
    assert feeding.joined() < len(feeding.rewards)
    feeding.start()
    feeding.assert_exactly_once()


def test_a_frozen_joiner_finds_itself_fenced_off_when_it_wakes(feeding: Feeding) -> None:
    zombie = feeding.start()
    feeding.take(10)
    until(lambda: feeding.joined() == 10, "the first joiner works")
    feeding.freeze(zombie)
    heir = feeding.start()
    feeding.take(100)
    until(lambda: feeding.joined() == 110, "the second joiner has taken over")
    feeding.take(50)
    zombie.send_signal(signal.SIGCONT)
    _, errors = zombie.communicate(timeout=10)
    assert zombie.returncode == 1
    assert "another joiner has taken over" in errors
    feeding.assert_exactly_once()
    assert heir.poll() is None


@pytest.mark.parametrize("feeding", ["sqlite"], indirect=True)
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_joiner_stops_between_transactions(feeding: Feeding, signal_number: signal.Signals) -> None:
    process = feeding.start()
    feeding.take(2000)
    until(lambda: feeding.joined() > 0, "the joiner is in mid-stream")
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors
    feeding.start()
    feeding.assert_exactly_once()


@pytest.mark.parametrize("feeding", ["sqlite"], indirect=True)
def test_the_joiner_ends_with_its_supervisor(feeding: Feeding) -> None:
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.feedback"],
        env=feeding.environment | {"REWARDLOOP_LIFELINE_FD": str(ours)},
        pass_fds=[ours],
    )
    feeding.take(1)
    until(lambda: feeding.joined() == 1, "the joiner works")
    os.close(theirs)
    assert process.wait(timeout=30) != 0
    os.close(ours)
