"""Revisions of experiences whose rewards were computed anew."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, bindparam, delete, null, select, update
from sqlalchemy.orm import Session

from services.feedback.repository.writing import add_numbers, take_sequences
from services.feedback.windows import LoopKey
from shared import wire
from shared.db.decisions import OF_ITS_DECISION, feedback_of
from shared.db.dialects import is_among, table_of
from shared.db.loops import lock_loop, seize_loop
from shared.db.statistics import CountName
from shared.db.tables import (
    REWARD_CHUNK,
    DecisionRow,
    ExperienceRow,
    FeedbackRow,
    JoinerCountRow,
    LoopRow,
    RestatementRow,
    RewardSumRow,
)
from shared.domain import Decision, Feedback
from shared.pb.events.v1 import events_pb2

RESTATED: CountName = "restated"


@dataclass(frozen=True, slots=True)
class Restatable:
    """An experience that counts, with what its reward is computed from; the decision where the reward reads it."""

    experience: ExperienceRow
    rows: list[FeedbackRow]
    decision: Decision | None
    served_action_id: str | None

    def feedback(self, *, late: bool) -> list[Feedback]:
        """What came in its window, and with `late` what came after it too."""
        return [feedback_of(row) for row in self.rows if late or not row.late]

    def turn_in_time(self) -> int:
        """Marks what was taken in its window and read after its end, as from a spool; returns how much that is."""
        ended = self.experience.closed_at if self.experience.closed_by == "timeout" else 0
        delayed = [row for row in self.rows if row.late and row.received_at <= ended]
        for row in delayed:
            row.late = False
        return len(delayed)


def next_restatement(session: Session) -> LoopKey | None:
    """A loop whose experiences are to be restated."""
    row = session.scalar(select(RestatementRow).order_by(RestatementRow.tenant, RestatementRow.loop_id).limit(1))
    return None if row is None else (row.tenant, row.loop_id)


def read_restatement(session: Session, loop: LoopKey) -> RestatementRow | None:
    """How far it has come; it goes up to the last experience that there is when it begins.

    Whoever joined by the settings before has committed by then: later experiences have the reward as it is defined now.
    """
    of = RestatementRow
    begun = session.scalar(select(of.until_sequence).where(of.tenant == loop[0], of.loop_id == loop[1])) is not None
    if not (lock_loop if begun else seize_loop)(session, *loop):
        return None
    row = session.get(of, loop, with_for_update=True)
    if row is None or row.until_sequence is not None:
        return row
    if begun:
        # Another change of the reward began it anew just now.
        return None
    row.until_sequence = session.get_one(LoopRow, loop).last_sequence
    return row


def read_restatable(session: Session, row: RestatementRow, limit: int, with_decisions: bool) -> list[Restatable]:
    """The oldest experiences that a restatement has not come to."""
    of, loop = ExperienceRow, (row.tenant, row.loop_id)
    query = _counting(loop, with_decisions).where(of.sequence > row.done_sequence, of.sequence <= row.until_sequence)
    return _restatable(session, loop, query.limit(limit))


def read_touched(
    session: Session, loop: LoopKey, decision_ids: Sequence[str], with_decisions: bool
) -> list[Restatable]:
    """The experiences of decisions, which nobody else restates until the transaction ends."""
    lock_loop(session, *loop)
    query = _counting(loop, with_decisions).where(is_among(session, ExperienceRow.decision_id, decision_ids))
    return _restatable(session, loop, query)


def _counting(loop: LoopKey, with_decisions: bool) -> Select[ExperienceRow, str | None, bytes | None]:
    """Newest revisions, in order; an imported reward has no feedback behind it."""
    of = ExperienceRow
    return (
        select(of, DecisionRow.served_action_id, DecisionRow.payload if with_decisions else null())
        .join(DecisionRow, OF_ITS_DECISION)
        .where(of.tenant == loop[0], of.loop_id == loop[1], ~of.superseded, of.closed_by != "import")
        .order_by(of.sequence)
    )


def _restatable(
    session: Session, loop: LoopKey, query: Select[ExperienceRow, str | None, bytes | None]
) -> list[Restatable]:
    found = session.execute(query).all()
    rows = _read_feedback(session, loop, [experience.decision_id for experience, _, _ in found])
    return [
        Restatable(experience, rows[experience.decision_id], _decision(payload), served)
        for experience, served, payload in found
    ]


def set_restated(session: Session, row: RestatementRow, sequence: int | None) -> None:
    """Notes how far it has come, None for its end; nothing where another change of the reward began it anew."""
    table = table_of(RestatementRow)
    same = (
        table.c.tenant == row.tenant,
        table.c.loop_id == row.loop_id,
        table.c.settings_revision == row.settings_revision,
    )
    if sequence is None:
        session.execute(delete(table).where(*same))
    else:
        session.execute(update(table).where(*same).values(done_sequence=sequence, until_sequence=row.until_sequence))


def add_revisions(session: Session, loop: LoopKey, restated: Sequence[tuple[ExperienceRow, float]]) -> None:
    """New revisions of experiences with other rewards, with sequences of their own; the sums are corrected."""
    sequences = take_sequences(session, loop, len(restated))
    session.add_all(_revision(row, reward, next(sequences)) for row, reward in restated)
    for row, _ in restated:
        row.superseded = True
    session.flush()
    sums = table_of(RewardSumRow)
    keys = [column for column in sums.primary_key if column.name not in ("tenant", "loop_id")]
    correction = (
        update(sums)
        .where(sums.c.tenant == loop[0], sums.c.loop_id == loop[1])
        .where(*(column == bindparam(f"key_{column.name}") for column in keys))
        .values(
            reward_sum=sums.c.reward_sum + bindparam("change"),
            reward_square_sum=sums.c.reward_square_sum + bindparam("square_change"),
        )
    )
    session.connection().execute(correction, [_correction(row, reward) for row, reward in restated])
    add_numbers(
        session,
        JoinerCountRow,
        [{"tenant": loop[0], "loop_id": loop[1], "name": RESTATED, "count": len(restated)}],
    )


def _read_feedback(session: Session, loop: LoopKey, decision_ids: Sequence[str]) -> dict[str, list[FeedbackRow]]:
    of, found = FeedbackRow, defaultdict[str, list[FeedbackRow]](list)
    mine = (of.tenant == loop[0], of.loop_id == loop[1], is_among(session, of.decision_id, decision_ids))
    for row in session.scalars(select(of).where(*mine)):
        found[row.decision_id].append(row)
    return found


def _decision(payload: bytes | None) -> Decision | None:
    return None if payload is None else wire.decision_from_pb(events_pb2.DecisionMade.FromString(payload))


def _revision(row: ExperienceRow, reward: float, sequence: int) -> ExperienceRow:
    return ExperienceRow(
        tenant=row.tenant,
        loop_id=row.loop_id,
        sequence=sequence,
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        action_id=row.action_id,
        probability=row.probability,
        reward=reward,
        model_version=row.model_version,
        revision=row.revision + 1,
        restates_sequence=_first(row),
        previous_reward=row.reward,
        traceparent=row.traceparent,
    )


def _correction(row: ExperienceRow, reward: float) -> dict[str, float]:
    return {
        "key_chunk": (_first(row) - 1) // REWARD_CHUNK,
        "key_model_version": row.model_version or 0,
        "change": reward - row.reward,
        "square_change": reward * reward - row.reward * row.reward,
    }


def _first(row: ExperienceRow) -> int:
    """The sequence of its decision's first experience."""
    return row.sequence if row.restates_sequence is None else row.restates_sequence
