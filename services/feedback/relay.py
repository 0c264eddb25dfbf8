"""The outbox relay: from the experiences table to the log, in order of sequence, at least once."""

from collections.abc import Iterable
from typing import Final

import structlog
from sqlalchemy import Engine

from services.feedback.repository import loops_behind, read_unpublished, set_published
from services.feedback.windows import LoopKey
from shared.db.engine import read_session, write_session
from shared.domain import Clock
from shared.eventlog import EventLog, EventLogError
from shared.events import EXPERIENCES, experience_record

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
                experiences = read_unpublished(session, loop)
            if not experiences:
                return
            now = self._wall()
            self._log.append(EXPERIENCES, [experience_record(experience, now) for experience in experiences])
            with write_session(self._engine) as session:
                set_published(session, loop, experiences[-1].sequence)
