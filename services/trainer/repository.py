"""What the trainer reads of the database; all it writes goes through shared.registry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import wire
from shared.db.decisions import OF_ITS_DECISION
from shared.db.tables import DecisionRow, ExperienceRow, LoopRow, ModelVersionRow, TrainingRunRow
from shared.domain import Decision
from shared.loop_settings import Loop
from shared.pb.events.v1 import events_pb2

# The fallback reason of a decision that no version may make.
HOLDOUT: Final = "holdout"


@dataclass(frozen=True, slots=True)
class JoinedRow:
    """An experience without its decision; `probability` is None where another action than the drawn one was served.

    `first_sequence` is that of the decision's first experience: another one where the reward was restated.
    """

    first_sequence: int
    sequence: int
    decision_id: str
    action_id: str
    probability: float | None
    reward: float
    decided_at: int = 0
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class LearningRecord:
    """What decides whether a loop's next fine-tune is due; `last_started_at` is that of any run, version 1's too."""

    last_sequence: int
    covered_sequence: int
    last_started_at: int | None
    under_way: bool


def read_experiences(session: Session, tenant: str, loop_id: str, limit: int) -> list[JoinedRow]:
    """The newest experiences of a loop, oldest first; a decision once, by the revision that counts.

    The holdout's are left out: nothing is learned from them.
    """
    of = ExperienceRow
    first_sequence = func.coalesce(of.restates_sequence, of.sequence)
    query = (
        select(
            first_sequence,
            of.sequence,
            of.decision_id,
            of.action_id,
            of.probability,
            of.reward,
            of.decided_at,
            of.traceparent,
        )
        .join(DecisionRow, OF_ITS_DECISION)
        .where(of.tenant == tenant, of.loop_id == loop_id, ~of.superseded)
        .where(DecisionRow.fallback_reason.is_distinct_from(HOLDOUT))
        .order_by(of.sequence.desc())
        .limit(limit)
    )
    return sorted((JoinedRow(*row) for row in session.execute(query)), key=lambda row: row.first_sequence)


def read_decisions(session: Session, tenant: str, loop_id: str, decision_ids: Sequence[str]) -> dict[str, Decision]:
    """Decisions as they were logged, by id."""
    of = DecisionRow
    query = select(of.decision_id, of.payload).where(
        of.tenant == tenant, of.loop_id == loop_id, of.decision_id.in_(decision_ids)
    )
    return {
        decision_id: wire.decision_from_pb(events_pb2.DecisionMade.FromString(payload))
        for decision_id, payload in session.execute(query)
    }


def read_expectations(
    session: Session, loop: Loop, after: int, limit: int
) -> Iterator[tuple[int, float | None, float]]:
    """Sequence, expected and joined reward of a loop's oldest experiences beyond a sequence, restatements left out.

    The expected one is the taken action's as it was logged; None where no model version expected anything.
    """
    of = ExperienceRow
    query = (
        select(of.sequence, of.action_id, of.reward, DecisionRow.payload)
        .join(DecisionRow, OF_ITS_DECISION)
        .where(of.tenant == loop.tenant, of.loop_id == loop.loop_id, of.sequence > after)
        .where(of.restates_sequence.is_(None))
        .order_by(of.sequence)
        .limit(limit)
    )
    for sequence, action_id, reward, payload in session.execute(query):
        yield sequence, wire.expected_reward(events_pb2.DecisionMade.FromString(payload), action_id), reward


def read_learning_record(session: Session, tenant: str, loop_id: str) -> LearningRecord:
    """Of a loop that exists; what a rejected version covered counts too."""
    runs, versions = TrainingRunRow, ModelVersionRow
    last_sequence = session.scalars(
        select(LoopRow.last_sequence).where(LoopRow.tenant == tenant, LoopRow.loop_id == loop_id)
    ).one()
    covered = session.scalar(
        select(func.max(versions.covers_sequence)).where(versions.tenant == tenant, versions.loop_id == loop_id)
    )
    started = select(func.max(runs.started_at)).where(runs.tenant == tenant, runs.loop_id == loop_id)
    open_run = select(runs.training_run_id).where(
        runs.tenant == tenant, runs.loop_id == loop_id, runs.status.in_(("queued", "running"))
    )
    under_way = session.scalar(open_run.limit(1)) is not None
    return LearningRecord(last_sequence, covered or 0, session.scalar(started), under_way)
