"""What followed decisions in their episodes, and how episodes ended; the joiner only stores what it was told."""

from datetime import timedelta
from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, aliased

from shared.db.tables import DecisionRow, EpisodeEndRow, ExperienceRow
from shared.domain import Decision, End

MICROSECOND: Final = timedelta(microseconds=1)


def read_next_decisions(session: Session, tenant: str, loop_id: str, first_sequence: int) -> dict[str, str]:
    """Ids of the decisions that followed those of the experiences from a sequence on; the first of several counts."""
    of, following = ExperienceRow, aliased(DecisionRow)
    follows = and_(
        following.tenant == of.tenant,
        following.loop_id == of.loop_id,
        following.previous_decision_id == of.decision_id,
    )
    query = (
        select(of.decision_id, following.decision_id)
        .join(following, follows)
        .where(of.tenant == tenant, of.loop_id == loop_id, of.sequence >= first_sequence)
        .order_by(following.decided_at.desc(), following.decision_id.desc())
    )
    return dict(session.execute(query).all())


def read_ends(session: Session, tenant: str, loop_id: str, first_sequence: int, timeout: timedelta) -> dict[str, End]:
    """How episodes ended with the decisions of the experiences from a sequence on, by the decisions' ids."""
    of, ended = ExperienceRow, EpisodeEndRow
    ends = and_(ended.tenant == of.tenant, ended.loop_id == of.loop_id, ended.decision_id == of.decision_id)
    query = (
        select(of.decision_id, ended.end, ended.ended_at - of.decided_at)
        .join(ended, ends)
        .where(of.tenant == tenant, of.loop_id == loop_id, of.sequence >= first_sequence)
    )
    return {decision_id: _counted(end, after, timeout) for decision_id, end, after in session.execute(query)}


def read_end(session: Session, decision: Decision, timeout: timedelta, now: int) -> End | None:
    """How the decision's episode ended with it; None where it goes on, or may yet."""
    if decision.episode_id is None:
        return None
    ended, following = EpisodeEndRow, DecisionRow
    mine = (ended.tenant == decision.tenant, ended.loop_id == decision.loop_id)
    row = session.scalar(select(ended).where(*mine, ended.decision_id == decision.decision_id).limit(1))
    if row is not None:
        return _counted(row.end, row.ended_at - decision.decided_at, timeout)
    next_id = select(following.decision_id).where(
        following.tenant == decision.tenant,
        following.loop_id == decision.loop_id,
        following.previous_decision_id == decision.decision_id,
    )
    is_old = now - decision.decided_at > timeout // MICROSECOND
    return "truncated" if is_old and session.scalar(next_id.limit(1)) is None else None


def _counted(end: str, after: int, timeout: timedelta) -> End:
    """Whatever comes later than the timeout after the last decision, the episode was truncated by then."""
    return "terminated" if end == "terminated" and after <= timeout // MICROSECOND else "truncated"
