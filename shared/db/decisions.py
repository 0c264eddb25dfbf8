"""Decisions and experiences as the database keeps them, with what came of each; the joiner writes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

from sqlalchemy import ColumnElement, Row, and_, select, tuple_
from sqlalchemy.orm import Session

from shared import wire
from shared.db.dialects import is_among
from shared.db.tables import DanglingFeedbackRow, DecisionRow, ExperienceRow, FeedbackRow
from shared.domain import Decision, Experience, Feedback
from shared.pb.events.v1 import events_pb2

# An import closes what came with a reward of its own.
ClosedBy = Literal["feedback", "timeout", "import"]

# What an experience is read from: the columns alone are read in a fraction of the time that mapped rows take.
EXPERIENCE_COLUMNS: Final = tuple(
    getattr(ExperienceRow, field.name) for field in fields(Experience) if hasattr(ExperienceRow, field.name)
)
# Joins an experience with its decision.
OF_ITS_DECISION: Final = and_(
    DecisionRow.tenant == ExperienceRow.tenant,
    DecisionRow.loop_id == ExperienceRow.loop_id,
    DecisionRow.decision_id == ExperienceRow.decision_id,
)


@dataclass(frozen=True, slots=True)
class StoredFeedback:
    """Feedback of a known decision; late where it came after the window, so that the reward leaves it out."""

    feedback: Feedback
    late: bool


@dataclass(frozen=True, slots=True)
class StoredExperience:
    """A joined row (without its state, which stands in the decision), and how its window ended.

    `revision` is above 1 where the reward was restated.
    """

    experience: Experience
    closed_at: int
    closed_by: ClosedBy
    revision: int


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision with its feedback in order of receive time; `experience` is None until the window closes.

    `closes_at` is None once closed, and while a deferred decision waits for its activation.
    """

    decision: Decision
    activated_at: int | None
    served_action_id: str | None
    closes_at: int | None
    feedback: Sequence[StoredFeedback]
    experience: StoredExperience | None


@dataclass(frozen=True, slots=True)
class DecisionSummary:
    """A decision in a list; `reward` is None until the window closes."""

    decision_id: str
    decided_at: int
    action_id: str
    probability: float
    model_version: int | None
    fallback_reason: str | None
    deferred: bool
    activated_at: int | None
    served_action_id: str | None
    reward: float | None

    @property
    def cursor(self) -> tuple[int, str]:
        """Where the next page of `list_decisions` starts."""
        return self.decided_at, self.decision_id


def read_decision(session: Session, tenant: str, loop_id: str, decision_id: str) -> StoredDecision | None:
    """The decision with all that came of it, or None where the joiner has not (yet) written it."""
    row = session.get(DecisionRow, (tenant, loop_id, decision_id))
    if row is None:
        return None
    return StoredDecision(
        decision=wire.decision_from_pb(events_pb2.DecisionMade.FromString(row.payload)),
        activated_at=row.activated_at,
        served_action_id=row.served_action_id,
        closes_at=row.closes_at,
        feedback=_read_feedback(session, row),
        experience=_read_experience(session, row),
    )


def read_logged(
    session: Session, tenant: str, loop_id: str, decision_ids: Iterable[str]
) -> dict[str, events_pb2.DecisionMade]:
    """Decisions as they were logged, by id; those that the joiner has written.

    By key, not by a join: PostgreSQL joins tables that it has not analyzed yet by reading all of them.
    """
    of = DecisionRow
    query = select(of.decision_id, of.payload).where(of.tenant == tenant, of.loop_id == loop_id)
    found = session.execute(query.where(is_among(session, of.decision_id, decision_ids)))
    return {decision_id: events_pb2.DecisionMade.FromString(payload) for decision_id, payload in found}


def list_decisions(
    session: Session,
    tenant: str,
    loop_id: str,
    *,
    before: tuple[int, str] | None = None,
    limit: int = 100,
    action_id: str | None = None,
    model_version: int | None = None,
    since: int | None = None,
    until: int | None = None,
) -> list[DecisionSummary]:
    """Newest first, from a cursor on; `since` is inclusive and `until` exclusive (microseconds)."""
    of = DecisionRow
    experience = and_(
        ExperienceRow.tenant == of.tenant,
        ExperienceRow.loop_id == of.loop_id,
        ExperienceRow.decision_id == of.decision_id,
        ~ExperienceRow.superseded,
    )
    # The payload stays where it is: it is most of the row.
    columns = (
        of.decision_id,
        of.decided_at,
        of.action_id,
        of.probability,
        of.model_version,
        of.fallback_reason,
        of.deferred,
        of.activated_at,
        of.served_action_id,
        ExperienceRow.reward,
    )
    conditions = [of.tenant == tenant, of.loop_id == loop_id, *_filters(of, action_id, model_version, since, until)]
    if before is not None:
        conditions.append(tuple_(of.decided_at, of.decision_id) < before)
    query = (
        select(*columns)
        .join(ExperienceRow, experience, isouter=True)
        .where(*conditions)
        .order_by(of.decided_at.desc(), of.decision_id.desc())
        .limit(limit)
    )
    return [DecisionSummary(**row._asdict()) for row in session.execute(query)]


def list_experiences(
    session: Session,
    tenant: str,
    loop_id: str,
    *,
    before: int | None = None,
    limit: int = 100,
    action_id: str | None = None,
    model_version: int | None = None,
    since: int | None = None,
    until: int | None = None,
) -> list[StoredExperience]:
    """Newest first, from below the sequence `before` on, each decision by the revision that counts.

    `since` and `until` are about the decision's time.
    """
    of = ExperienceRow
    conditions = [of.tenant == tenant, of.loop_id == loop_id, *_filters(of, action_id, model_version, since, until)]
    conditions.append(~of.superseded)
    if before is not None:
        conditions.append(of.sequence < before)
    query = select(of).where(*conditions).order_by(of.sequence.desc()).limit(limit)
    return [_experience(row) for row in session.scalars(query)]


def _filters(
    of: type[DecisionRow] | type[ExperienceRow],
    action_id: str | None,
    model_version: int | None,
    since: int | None,
    until: int | None,
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if action_id is not None:
        conditions.append(of.action_id == action_id)
    if model_version is not None:
        conditions.append(of.model_version == model_version)
    if since is not None:
        conditions.append(of.decided_at >= since)
    if until is not None:
        conditions.append(of.decided_at < until)
    return conditions


def _read_feedback(session: Session, decision: DecisionRow) -> list[StoredFeedback]:
    of = FeedbackRow
    query = (
        select(of)
        .where(of.tenant == decision.tenant, of.loop_id == decision.loop_id, of.decision_id == decision.decision_id)
        .order_by(of.received_at, of.feedback_id)
    )
    return [StoredFeedback(feedback_of(row), row.late) for row in session.scalars(query)]


def feedback_of(row: FeedbackRow | DanglingFeedbackRow) -> Feedback:
    return Feedback(
        tenant=row.tenant,
        loop_id=row.loop_id,
        feedback_id=row.feedback_id,
        decision_id=row.decision_id,
        metric=row.metric,
        value=(row.text or "") if row.number is None else row.number,
        received_at=row.received_at,
        occurred_at=row.occurred_at,
    )


def _read_experience(session: Session, decision: DecisionRow) -> StoredExperience | None:
    of = ExperienceRow
    row = session.scalar(
        select(of).where(
            of.tenant == decision.tenant,
            of.loop_id == decision.loop_id,
            of.decision_id == decision.decision_id,
            ~of.superseded,
        )
    )
    return None if row is None else _experience(row)


def experience_of(row: ExperienceRow | Row[*tuple[object, ...]]) -> Experience:
    """An experience as its row, or the columns of one, have it: without a state."""
    return Experience(**{column.key: getattr(row, column.key) for column in EXPERIENCE_COLUMNS})


def _experience(row: ExperienceRow) -> StoredExperience:
    closed_by = next(name for name in get_args(ClosedBy) if name == row.closed_by)
    return StoredExperience(experience_of(row), row.closed_at, closed_by, row.revision)
