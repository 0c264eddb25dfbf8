"""Joined experiences with what was logged of their decisions, in order: the one read of relay and feeder."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.feedback.windows import LoopKey
from shared.db.decisions import EXPERIENCE_COLUMNS, experience_of, read_logged
from shared.db.tables import ExperienceRow
from shared.domain import Experience
from shared.pb.events.v1 import events_pb2

Joined = tuple[Experience, events_pb2.DecisionMade]


def read_joined(
    session: Session, loop: LoopKey, after: int, limit: int, *, not_decided_by: int | None = None
) -> list[Joined]:
    """A loop's oldest experiences beyond a sequence; those that a version decided itself may be left out."""
    of = ExperienceRow
    query = (
        select(*EXPERIENCE_COLUMNS)
        .where(of.tenant == loop[0], of.loop_id == loop[1], of.sequence > after)
        .order_by(of.sequence)
        .limit(limit)
    )
    if not_decided_by is not None:
        query = query.where(of.model_version.is_distinct_from(not_decided_by))
    experiences = [experience_of(row) for row in session.execute(query)]
    logged = read_logged(session, *loop, {one.decision_id for one in experiences})
    return [(one, logged[one.decision_id]) for one in experiences]
