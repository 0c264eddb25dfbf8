"""The outbox: how far the log has each loop's experiences."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.feedback.windows import LoopKey
from shared.db.dialects import table_of
from shared.db.tables import LoopRow


def loops_behind(session: Session) -> list[LoopKey]:
    """Loops with experiences that the log does not have; a frozen one's are held back."""
    behind = LoopRow.published_sequence < LoopRow.last_sequence
    query = select(LoopRow.tenant, LoopRow.loop_id).where(behind, LoopRow.frozen_to.is_(None))
    return list(session.execute(query))


def count_unpublished(session: Session) -> int:
    """Experiences that the log does not have, of all loops that are not frozen."""
    behind = func.sum(LoopRow.last_sequence - LoopRow.published_sequence)
    return int(session.scalar(select(behind).where(LoopRow.frozen_to.is_(None))) or 0)


def read_published(session: Session, loop: LoopKey) -> int | None:
    """The last sequence that the log has; None where the loop is not there any more, or is frozen."""
    row = session.get(LoopRow, loop)
    return None if row is None or row.frozen_to is not None else row.published_sequence


def set_published(session: Session, loop: LoopKey, sequence: int) -> None:
    """Moves a loop's published sequence, never back."""
    loops = table_of(LoopRow)
    behind = (loops.c.tenant == loop[0], loops.c.loop_id == loop[1], loops.c.published_sequence < sequence)
    session.execute(update(loops).where(*behind).values(published_sequence=sequence))
