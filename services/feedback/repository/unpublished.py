"""The outbox: experiences that the log does not have yet."""

from dataclasses import replace
from typing import Final

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from services.feedback.windows import LoopKey
from shared import wire
from shared.db.decisions import experience_of
from shared.db.dialects import table_of
from shared.db.tables import DecisionRow, ExperienceRow, LoopRow
from shared.domain import Experience
from shared.pb.events.v1 import events_pb2

MOST: Final = 500


def loops_behind(session: Session) -> list[LoopKey]:
    """Loops with experiences that the log does not have."""
    query = select(LoopRow.tenant, LoopRow.loop_id).where(LoopRow.published_sequence < LoopRow.last_sequence)
    return list(session.execute(query))


def read_unpublished(session: Session, loop: LoopKey) -> list[Experience]:
    """The oldest experiences of a loop beyond its published sequence, with the state that decided, in order."""
    of = ExperienceRow
    decision = and_(
        DecisionRow.tenant == of.tenant, DecisionRow.loop_id == of.loop_id, DecisionRow.decision_id == of.decision_id
    )
    published = select(LoopRow.published_sequence).where(LoopRow.tenant == loop[0], LoopRow.loop_id == loop[1])
    query = (
        select(of, DecisionRow.payload)
        .join(DecisionRow, decision)
        .where(of.tenant == loop[0], of.loop_id == loop[1], of.sequence > published.scalar_subquery())
        .order_by(of.sequence)
        .limit(MOST)
    )
    return [_experience(row, payload) for row, payload in session.execute(query)]


def set_published(session: Session, loop: LoopKey, sequence: int) -> None:
    """Moves a loop's published sequence, never back."""
    loops = table_of(LoopRow)
    behind = (loops.c.tenant == loop[0], loops.c.loop_id == loop[1], loops.c.published_sequence < sequence)
    session.execute(update(loops).where(*behind).values(published_sequence=sequence))


def _experience(row: ExperienceRow, payload: bytes) -> Experience:
    decision = events_pb2.DecisionMade.FromString(payload)
    state = wire.floats_from_pb(decision.state, 1) if decision.HasField("state") else None
    return replace(experience_of(row), state=state)
