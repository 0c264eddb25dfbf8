"""A loop, a log in memory and a joiner under clocks that the test turns."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select

from services.feedback.joiner import Joiner
from services.feedback.settings import FeedbackSettings
from shared.db.decisions import StoredDecision, read_decision
from shared.db.engine import read_session, write_session
from shared.db.statistics import LoopStatistics, read_statistics
from shared.db.tables import DeadLetterRow, LoopRow
from shared.domain import Action, Activation, Decision, Feedback
from shared.eventlog import EventLogError, Position, Record, StoredRecord
from shared.events import DECISIONS, FEEDBACK, activation_record, decision_record, feedback_record
from shared.loop_settings import LoopSettings
from tests.databases import open_empty

SECOND = 1_000_000
START = 1_764_072_000 * SECOND
LOOP = ("acme", "news")
WAIT = 10 * SECOND
GRACE = 1 * SECOND


class FakeLog:
    """The port with one partition a topic; `refuses` makes appends to a topic fail, `trimmed` hides old records."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = defaultdict(list)
        self.refuses: set[str] = set()
        self.trimmed: dict[str, int] = {}

    def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        if topic in self.refuses:
            raise EventLogError(f"log {topic}: no space left")
        first = len(self.records[topic])
        self.records[topic] += records
        return [Position(topic, 0, first + index) for index in range(len(records))]

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        first = max(offset, self.trimmed.get(topic, 0))
        kept = self.records[topic][first : first + limit]
        return [StoredRecord(Position(topic, partition, first + index), one, 0) for index, one in enumerate(kept)]

    def ends(self, topic: str) -> dict[int, int]:
        return {0: len(self.records[topic])}

    def trim(self, topic: str, before: int) -> int:
        raise NotImplementedError

    def close(self) -> None: ...


def decision(decision_id: str, decided_at: int) -> Decision:
    """Version 3 has drawn "b" of "a" and "b"."""
    return Decision(
        tenant=LOOP[0],
        loop_id=LOOP[1],
        decision_id=decision_id,
        decided_at=decided_at,
        context={"title": "Red shoe"},
        actions=[Action("a"), Action("b")],
        action_id="b",
        probability=0.75,
        probabilities=np.array([0.25, 0.75]),
        seed=7,
        settings_revision=1,
        request_sha256=hashlib.sha256(decision_id.encode()).digest(),
        model_version=3,
        state=np.array([0.5, -1.0], np.float32),
    )


class Bench:
    """Database, log, clocks and one joiner at a time."""

    def __init__(self, database_url: str, batch: int = 100, **settings: Any) -> None:
        self.engine: Engine = open_empty(database_url)
        self.log = FakeLog()
        self.wall = START
        self.monotonic = 0
        self.batch = batch
        self.joiner = self.start()
        self.save_loop(**settings)

    def start(self) -> Joiner:
        """A new joiner, as after a restart."""
        settings = FeedbackSettings(joiner_batch=self.batch, joiner_grace_seconds=GRACE / SECOND)
        self.joiner = Joiner(self.engine, self.log, settings, wall=lambda: self.wall, monotonic=lambda: self.monotonic)
        return self.joiner

    def save_loop(self, revision: int = 1, **settings: Any) -> None:
        with write_session(self.engine) as session:
            body = LoopSettings.model_validate(
                {"modalities": {"title": {"kind": "text"}}, "reward_wait_time": "PT10S"} | settings
            )
            row = session.get(LoopRow, LOOP)
            if row is None:
                row = LoopRow(tenant=LOOP[0], loop_id=LOOP[1], created_at=self.wall)
                session.add(row)
            row.settings, row.settings_revision = body.model_dump(mode="json"), revision

    def delete_loop(self) -> None:
        with write_session(self.engine) as session:
            session.delete(session.get_one(LoopRow, LOOP))

    def passes(self, microseconds: int) -> None:
        self.wall += microseconds
        self.monotonic += microseconds

    def decide(self, decision_id: str = "d", **changes: Any) -> Decision:
        made = replace(decision(decision_id, self.wall), **changes)
        self.log.append(DECISIONS, [decision_record(made)])
        return made

    def activate(self, decision_id: str = "d", served_action_id: str | None = None) -> None:
        self.log.append(DECISIONS, [activation_record(Activation(*LOOP, decision_id, self.wall, served_action_id))])

    def feed(self, decision_id: str = "d", metric: str = "reward", value: float | str = 1.0, **changes: Any) -> None:
        feedback_id = f"f-{len(self.log.records[FEEDBACK])}"
        event = replace(Feedback(*LOOP, feedback_id, decision_id, metric, value, self.wall), **changes)
        self.log.append(FEEDBACK, [feedback_record(event)])

    def drain(self) -> None:
        """Joins until there is nothing to do."""
        for _ in range(100):
            if not self.joiner.step():
                return
        raise AssertionError("the joiner never rests")

    def stored(self, decision_id: str = "d") -> StoredDecision:
        with read_session(self.engine) as session:
            found = read_decision(session, *LOOP, decision_id)
        assert found is not None
        return found

    def reward(self, decision_id: str = "d") -> float | None:
        experience = self.stored(decision_id).experience
        return None if experience is None else experience.experience.reward

    def statistics(self) -> LoopStatistics:
        with read_session(self.engine) as session:
            return read_statistics(session, *LOOP)

    def counts(self) -> dict[str, int]:
        """Those that are not 0."""
        return {name: count for name, count in self.statistics().counts.items() if count}

    def dead_letters(self) -> list[tuple[str, int, str]]:
        """Topic, offset and reason."""
        of = DeadLetterRow
        with read_session(self.engine) as session:
            return list(session.execute(select(of.topic, of.offset, of.reason).order_by(of.topic, of.offset)))


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    bench = Bench(database_url)
    yield bench
    bench.engine.dispose()
