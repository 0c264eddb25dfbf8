"""What the database holds of a loop, as the checker reads it: past every proxy, straight from the tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from shared import wire
from shared.db.engine import read_session
from shared.db.offsets import JOINER, read_offsets
from shared.db.tables import (
    AuditRow,
    ConsumerOffsetRow,
    DanglingFeedbackRow,
    DeadLetterRow,
    DecisionRow,
    ExperienceRow,
    FeedbackRow,
    ModelVersionRow,
)
from shared.domain import Decision
from shared.pb.events.v1 import events_pb2


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A row with the event that it was made of; `closes_at` is null once its window is closed."""

    decision: Decision
    closes_at: int | None


@dataclass(frozen=True, slots=True)
class StoredFeedback:
    """A row of `feedback`, or one that dangles."""

    feedback_id: str
    decision_id: str
    value: float | None
    received_at: int
    late: bool
    dangles: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """An experience as it counts now."""

    sequence: int
    decision_id: str
    reward: float
    closed_by: str


@dataclass(frozen=True, slots=True)
class Version:
    """A model version."""

    version: int
    status: str
    created_at: int
    training_run_id: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One tenant's part of a loop."""

    decisions: Sequence[StoredDecision]
    feedback: Sequence[StoredFeedback]
    experiences: Sequence[Joined]
    versions: Sequence[Version]
    # Mutating calls as the audit log tells them.
    audited: int

    @property
    def open_windows(self) -> int:
        return sum(row.closes_at is not None for row in self.decisions)


def read_stored(engine: Engine, tenant: str, loop_id: str) -> Stored:
    """Everything in one state of the database."""
    with read_session(engine) as session:
        return Stored(
            _decisions(session, tenant, loop_id),
            _feedback(session, tenant, loop_id),
            _experiences(session, tenant, loop_id),
            _versions(session, tenant, loop_id),
            session.scalars(
                select(func.count()).where(AuditRow.tenant == tenant, AuditRow.object.contains(loop_id))
            ).one(),
        )


def read_owners(engine: Engine, loop_id: str) -> set[str]:
    """The tenants that anything of a loop's name is stored under."""
    with read_session(engine) as session:
        tables = (DecisionRow, FeedbackRow, ExperienceRow, DanglingFeedbackRow)
        return {
            tenant
            for table in tables
            for tenant in session.scalars(select(table.tenant).where(table.loop_id == loop_id).distinct())
        }


def read_open_windows(engine: Engine, loop_id: str) -> int:
    """How many windows of a loop have not closed yet."""
    with read_session(engine) as session:
        counted = select(func.count()).where(DecisionRow.loop_id == loop_id, DecisionRow.closes_at.is_not(None))
        return session.scalars(counted).one()


def read_joined(engine: Engine) -> int:
    """All events that the joiner has stored, of all loops."""
    with read_session(engine) as session:
        tables = (DecisionRow, FeedbackRow, DanglingFeedbackRow)
        return sum(session.scalars(select(func.count()).select_from(table)).one() for table in tables)


def read_dead_letters(engine: Engine) -> int:
    with read_session(engine) as session:
        return session.scalars(select(func.count()).select_from(DeadLetterRow)).one()


def read_joiner_offsets(engine: Engine) -> dict[tuple[str, int], int]:
    """Topic and partition → the offset that is committed."""
    with read_session(engine) as session:
        return {(topic, number): at for topic, of in read_offsets(session).items() for number, at in of.items()}


def read_epochs(engine: Engine) -> dict[tuple[str, int], int]:
    """Topic and partition → how often a joiner has taken it over."""
    of = ConsumerOffsetRow
    with read_session(engine) as session:
        rows = session.execute(select(of.topic, of.partition, of.epoch).where(of.consumer == JOINER))
        return {(topic, partition): epoch for topic, partition, epoch in rows}


def _decisions(session: Session, tenant: str, loop_id: str) -> list[StoredDecision]:
    of = DecisionRow
    rows = session.execute(select(of.payload, of.closes_at).where(of.tenant == tenant, of.loop_id == loop_id))
    return [
        StoredDecision(wire.decision_from_pb(events_pb2.DecisionMade.FromString(payload)), closes_at)
        for payload, closes_at in rows
    ]


def _feedback(session: Session, tenant: str, loop_id: str) -> list[StoredFeedback]:
    of, waits = FeedbackRow, DanglingFeedbackRow
    kept = session.execute(
        select(of.feedback_id, of.decision_id, of.number, of.received_at, of.late).where(
            of.tenant == tenant, of.loop_id == loop_id
        )
    )
    dangling = session.execute(
        select(waits.feedback_id, waits.decision_id, waits.number, waits.received_at).where(
            waits.tenant == tenant, waits.loop_id == loop_id
        )
    )
    rows = [StoredFeedback(*row) for row in kept]
    return rows + [StoredFeedback(*row, late=False, dangles=True) for row in dangling]


def _experiences(session: Session, tenant: str, loop_id: str) -> list[Joined]:
    of = ExperienceRow
    rows = session.execute(
        select(of.sequence, of.decision_id, of.reward, of.closed_by)
        .where(of.tenant == tenant, of.loop_id == loop_id, of.superseded.is_(False))
        .order_by(of.sequence)
    )
    return [Joined(*row) for row in rows]


def _versions(session: Session, tenant: str, loop_id: str) -> list[Version]:
    of = ModelVersionRow
    rows = session.execute(
        select(of.version, of.status, of.created_at, of.training_run_id, of.manifest_sha256).where(
            of.tenant == tenant, of.loop_id == loop_id
        )
    )
    return [Version(*row) for row in rows]
