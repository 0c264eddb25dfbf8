"""The outbox relay: from the experiences table to the log, in order of sequence, at least once."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import structlog
from sqlalchemy import Engine

from services.feedback.repository import loops_behind, read_joined, read_published, set_published
from services.feedback.windows import LoopKey
from shared import wire
from shared.db.engine import read_session, write_session
from shared.domain import Clock, Experience
from shared.eventlog import EventLog, EventLogError
from shared.events import EXPERIENCES, experience_record
from shared.pb.events.v1 import events_pb2

# Experiences that one append brings.
MOST: Final = 500
RETRY: Final = 1_000_000

logger: Final = structlog.get_logger(__name__)


class Relay:
    """Appends what is joined to the experiences topic; while the log refuses, joining goes on without it."""

    def __init__(self, engine: Engine, log: EventLog, wall: Clock, monotonic: Clock) -> None:
        self._engine = engine
        self._log = log
        self._wall = wall
        self._monotonic = monotonic
        # Where the process before this one left off is not known.
        self._may_be_behind = True
        self._retry_at = 0

    def lose_track(self) -> None:
        """After an error it is not known what was committed: the next call looks at every loop."""
        self._may_be_behind = True

    def publish(self, joined: Iterable[LoopKey] = ()) -> None:
        """Publishes all that these loops lack in the log, and what the log refused before.

        Raises:
            SQLAlchemyError: the log may have some of it already; readers drop repeats by sequence.
        """
        if self._may_be_behind:
            if self._monotonic() < self._retry_at:
                return
            with read_session(self._engine) as session:
                joined = loops_behind(session)
        self._may_be_behind = True
        try:
            for loop in joined:
                self._publish(loop)
        except EventLogError as error:
            logger.warning("experiences_not_published", reason=str(error))
            self._retry_at = self._monotonic() + RETRY
        else:
            self._may_be_behind = False

    def _publish(self, loop: LoopKey) -> None:
        while True:
            with read_session(self._engine) as session:
                published = read_published(session, loop)
                joined = [] if published is None else read_joined(session, loop, published, MOST)
            if not joined:
                return
            now = self._wall()
            self._log.append(EXPERIENCES, [experience_record(_as_decided(*one), now) for one in joined])
            with write_session(self._engine) as session:
                set_published(session, loop, joined[-1][0].sequence)
            if len(joined) < MOST:
                return


def _as_decided(experience: Experience, decision: events_pb2.DecisionMade) -> Experience:
    """With the state that decided."""
    state = wire.floats_from_pb(decision.state, 1) if decision.HasField("state") else None
    return replace(experience, state=state)
