"""What the rollout controller reads: decisions as they are logged, and experiences as they are joined."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.decisions import OF_ITS_DECISION
from shared.db.tables import DecisionRow, ExperienceRow
from shared.pb.events.v1 import events_pb2
from shared.rollouts import Rollout

BATCH: Final = 2000


@dataclass(frozen=True, slots=True)
class JoinedReward:
    """A decision's first reward; its window began at `window_at`."""

    sequence: int
    window_at: int
    reward: float
    message: events_pb2.DecisionMade


def read_ids_since(session: Session, rollout: Rollout, since: int) -> dict[str, int]:
    """Decisions of the rollout's loop, made then or later, with their times; the index alone is read."""
    of = DecisionRow
    query = select(of.decision_id, of.decided_at).where(
        of.tenant == rollout.tenant, of.loop_id == rollout.loop_id, of.decided_at >= since
    )
    return dict(session.execute(query).all())


def read_logged(session: Session, rollout: Rollout, ids: Sequence[str]) -> Iterator[events_pb2.DecisionMade]:
    """Decisions as they were logged, in batches."""
    of = DecisionRow
    for first in range(0, len(ids), BATCH):
        query = select(of.payload).where(
            of.tenant == rollout.tenant,
            of.loop_id == rollout.loop_id,
            of.decision_id.in_(ids[first : first + BATCH]),
        )
        for payload in session.scalars(query):
            yield events_pb2.DecisionMade.FromString(payload)


def read_rewards_after(session: Session, rollout: Rollout, sequence: int) -> list[JoinedReward]:
    """Of the rollout's loop, in order of sequence, restatements left out: one batch."""
    of = ExperienceRow
    query = (
        select(of.sequence, of.decided_at, DecisionRow.activated_at, of.reward, DecisionRow.payload)
        .join(DecisionRow, OF_ITS_DECISION)
        .where(of.tenant == rollout.tenant, of.loop_id == rollout.loop_id, of.sequence > sequence)
        .where(of.restates_sequence.is_(None))
        .order_by(of.sequence)
        .limit(BATCH)
    )
    return [
        JoinedReward(number, activated_at or decided_at, reward, events_pb2.DecisionMade.FromString(payload))
        for number, decided_at, activated_at, reward, payload in session.execute(query)
    ]
