"""How far the joiner has read the log: what stands before its offsets is in the tables."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import ConsumerOffsetRow

JOINER: Final = "joiner"


def read_offsets(session: Session, consumer: str = JOINER) -> dict[str, dict[int, int]]:
    """For each topic and partition, the next offset that the consumer reads; the shape of `EventLog.ends`."""
    offsets: dict[str, dict[int, int]] = {}
    for row in session.scalars(select(ConsumerOffsetRow).where(ConsumerOffsetRow.consumer == consumer)):
        offsets.setdefault(row.topic, {})[row.partition] = row.offset
    return offsets
