"""The joiner: reads decisions and feedback from the log, joins them, and commits rows and offsets together."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.feedback.intake import Intake, dead_letter_record, happened_at, take_in
from services.feedback.joining import Join
from services.feedback.observing import JoinerMetrics, Observer
from services.feedback.relay import Relay
from services.feedback.repository import SettingsCache, next_end, read_judged, read_known, write
from services.feedback.restating import Restater, restate_touched
from services.feedback.settings import FeedbackSettings
from services.feedback.sharing import Alone, Share
from services.feedback.timing import WindowTime
from services.feedback.windows import LoopKey
from shared.clocks import seconds_left
from shared.db.engine import write_session
from shared.db.loops import lock_loop
from shared.db.offsets import JOINER, Claim, FencedError, move_offsets, read_claims, take_over
from shared.domain import Clock
from shared.eventlog import EventLog, EventLogError
from shared.events import DEAD_LETTERS, DECISIONS, FEEDBACK

# Feedback is appended after its decision: read first, it finds the decision in what is read next.
READ_ORDER: Final = (FEEDBACK, DECISIONS)
# Windows that one transaction closes by timeout.
MOST_DUE: Final = 500
FIRST_PAUSE: Final = 0.05
MOST_DOUBLINGS: Final = 6

Ends = dict[str, dict[int, int]]

logger: Final = structlog.get_logger(__name__)


class LogLostError(RuntimeError):
    """The log ends before what was read from it: it is not the log that this database belongs to."""


class Joiner:
    """One consumer of both topics. It does nothing until `step` or `run`."""

    def __init__(
        self,
        engine: Engine,
        log: EventLog,
        settings: FeedbackSettings,
        share: Share | None = None,
        *,
        wall: Clock,
        monotonic: Clock,
        tell: Callable[[LoopKey], None] = lambda _: None,
        observer: Observer | None = None,
    ) -> None:
        """`share` says which partitions it reads (not given: all of them); `tell` is told of loops with experiences."""
        self._engine = engine
        self._log = log
        self._batch = settings.joiner_batch
        self._poll = settings.joiner_poll_seconds
        self._grace = round(settings.joiner_grace_seconds * 1e6)
        self._wall = wall
        self._monotonic = monotonic
        self._spool = round(settings.joiner_spool_seconds * 1e6)
        # By the monotonic clock: until then feedback that came in time may stand in a gateway's spool.
        self._spooled_until = 0
        self._time = WindowTime(wall, monotonic)
        self._relay = Relay(engine, log, wall, monotonic)
        self._restater = Restater(engine, monotonic)
        self._tell = tell
        self._observer = observer or Observer(JoinerMetrics(CollectorRegistry()))
        self._share = share or Alone()
        self._partitions: Set[int] = frozenset()
        self._claims: list[Claim] = []
        self._cache = SettingsCache()
        self._next_end: int | None = None
        self._knows_the_tables = False
        self._is_new = True

    @property
    def leads(self) -> bool:
        """Whether it has the first partition, and with it what only one joiner does at a time."""
        return 0 in self._partitions

    def run(self, wait: Callable[[float], bool]) -> None:
        """Joins until `wait`, which is given seconds and may return early, says True: the process is to end.

        Raises:
            FencedError: another joiner has taken over from one that is alone.
            LogLostError: there is nothing that could be joined rightly.
        """
        failures, pause = 0, 0.0
        while not wait(pause):
            began = self._monotonic()
            try:
                self.step()
                # A transaction costs about the same for one event as for many: what comes meanwhile joins together.
                pause = seconds_left(self._poll, began, self._monotonic())
                failures = 0
            except (SQLAlchemyError, EventLogError) as error:
                pause = FIRST_PAUSE * 2 ** min(failures, MOST_DOUBLINGS)
                failures += 1
                logger.warning("join_failed", error=type(error).__name__, reason=str(error), retry_in_seconds=pause)
                self._knows_the_tables = False
                self._observer.failed(error)
                if isinstance(error, EventLogError):
                    self._spooled_until = self._monotonic() + self._spool
            except FencedError as error:
                if not self._share.yields:
                    raise
                logger.info("partition_taken", reason=str(error))
                self._yield()
        try:
            self._share.leave()
        except SQLAlchemyError as error:
            # The others find out by themselves, after a lease.
            logger.info("left_untold", error=type(error).__name__)

    def _yield(self) -> None:
        self._share.look_again()
        self._claims, self._partitions, self._knows_the_tables = [], frozenset(), False

    def step(self) -> bool:
        """Joins at most a batch of either topic, closes windows, restates; False where there was nothing to do."""
        observed_at = self._time.now()
        ends = self._ends()
        if not all(ends.values()):
            raise EventLogError(f"Kafka lacks the topics {', '.join(READ_ORDER)}: run `rewardloop init`")
        mine = self._share.of({partition for of in ends.values() for partition in of})
        if not self._knows_the_tables or mine != self._partitions:
            self._resume(ends, mine)
            # Until it had taken them over, another may have joined what came after the ends that were seen.
            ends = self._ends()
        restated = self._restater.step(self._claims, self._cache) if self.leads else None
        if restated is not None:
            self._publish({restated})
        return self._join_what_is_there(observed_at, ends) or restated is not None

    def _ends(self) -> Ends:
        return {topic: self._log.ends(topic) for topic in READ_ORDER}

    def _join_what_is_there(self, observed_at: int, ends: Ends) -> bool:
        self._observer.looked(self._claims, ends)
        due_until = observed_at - self._grace
        may_close = self._monotonic() >= self._spooled_until
        is_due = may_close and self._next_end is not None and self._next_end < due_until
        if not self._is_behind(ends) and not is_due:
            self._relay.publish()
            return False
        began_at, began = self._wall(), self._monotonic()
        moved, intakes = self._read(ends)
        # Feedback that came in time may still stand in the log: no window closes before all of it was read.
        has_caught_up = may_close and all(claim.offset >= ends[claim.topic][claim.partition] for claim in moved)
        with write_session(self._engine) as session:
            move_offsets(session, moved)
            join = self._join(session, intakes, due_until if has_caught_up else None)
            self._next_end = next_end(session, self._partitions)
        self._claims = moved
        self._observer.joined(intakes, join, began_at, self._wall(), self._monotonic() - began)
        self._publish(join.changes.loops_with_experiences)
        return True

    def _publish(self, loops: Set[LoopKey]) -> None:
        self._relay.publish(loops)
        for loop in loops:
            self._tell(loop)

    def _resume(self, ends: Ends, mine: Set[int]) -> None:
        """Takes over what is new to it; of the rest looks up what was committed: an answer may have been lost."""
        wanted = [(topic, partition) for topic in READ_ORDER for partition in ends[topic] if partition in mine]
        kept = [claim for claim in self._claims if (claim.topic, claim.partition) in wanted]
        had = {(claim.topic, claim.partition) for claim in kept}
        with write_session(self._engine) as session:
            claims = read_claims(session, kept)
            claims += take_over(session, JOINER, [place for place in wanted if place not in had])
            self._next_end = next_end(session, mine)
        self._claims = sorted(claims, key=lambda claim: wanted.index((claim.topic, claim.partition)))
        # The first read of a partition is the slow one: at the start nobody waits for what it brings. Later it would
        # keep the joiner from showing that it lives.
        for claim in self._claims if self._is_new else ():
            self._log.read(claim.topic, claim.partition, claim.offset, 1)
        self._is_new = False
        self._partitions = mine
        self._cache = SettingsCache()
        self._relay.lose_track()
        self._knows_the_tables = True

    def _is_behind(self, ends: Ends) -> bool:
        for claim in self._claims:
            end = ends[claim.topic][claim.partition]
            if end < claim.offset:
                raise LogLostError(f"log {claim.topic} ends at {end}, but was read up to {claim.offset}")
        return any(ends[claim.topic][claim.partition] > claim.offset for claim in self._claims)

    def _read(self, ends: Ends) -> tuple[list[Claim], list[Intake]]:
        """Where the claims stand afterwards, and what was read, decisions first."""
        moved: list[Claim] = []
        intakes: list[Intake] = []
        for claim in self._claims:
            end = ends[claim.topic][claim.partition]
            if claim.offset >= end:
                # Asking for what is not there costs as much as reading.
                moved.append(claim)
                continue
            records = self._log.read(claim.topic, claim.partition, claim.offset, self._batch)
            # Nothing below the end that was seen before: retention has dropped it.
            moved.append(replace(claim, offset=records[-1].position.offset + 1 if records else end))
            intakes.insert(0, take_in(records))
        for intake in intakes:
            for event, _ in intake.events:
                self._time.witness(happened_at(event))
        return moved, intakes

    def _join(self, session: Session, intakes: Sequence[Intake], due_until: int | None) -> Join:
        events = [event for intake in intakes for event, _ in intake.events]
        known = read_known(session, events, due_until, MOST_DUE, self._partitions)
        loops = {(one.tenant, one.loop_id) for one in (*events, *known.windows.values())}
        settings = self._cache.read(session, loops)
        read_judged(session, known, settings)
        join = Join(settings, known)
        for intake in intakes:
            join.apply(intake)
        if due_until is not None:
            join.close_due(due_until)
        if join.changes.dead:
            # Before the commit: a dead letter may be told twice, but not lost.
            self._log.append(DEAD_LETTERS, [dead_letter_record(letter) for letter in join.changes.dead])
        if join.changes.touched:
            # In order, before any of them gives out sequences, so that no two joiners wait for each other.
            for loop in sorted(join.changes.loops_with_experiences):
                lock_loop(session, *loop)
        write(session, join.changes, join.windows, self._wall())
        restate_touched(session, join.changes.touched, settings)
        return join
