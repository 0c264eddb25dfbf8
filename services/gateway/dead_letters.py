"""Records that the joiner has put aside, for the tenant that they belong to."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, tuple_
from sqlalchemy.orm import Session

from services.gateway.authentication import BOOTSTRAP_TENANT
from services.gateway.problems import Problem, ProblemType
from shared.db.tables import DeadLetterRow
from shared.eventlog import Position, Record
from shared.eventlog.envelopes import unpacked

# Of a payload, what a list shows.
SHOWN_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record as it stood in the log, and why it was put aside; `size` is its payload's, of which `shown` is cut."""

    position: Position
    reason: str
    size: int
    shown: bytes
    received_at: int
    dead_at: int
    replayed_at: int | None


def id_of(position: Position) -> str:
    """What the API calls the dead letter of a position."""
    return f"{position.topic}.{position.partition}.{position.offset}"


def position_of(dead_letter_id: str) -> Position:
    """The position that an id stands for.

    Raises:
        Problem: it is none of ours.
    """
    topic, *numbers = dead_letter_id.rsplit(".", 2)
    if len(numbers) != len(("partition", "offset")) or not all(_is_number(one) for one in numbers):
        raise _unknown()
    return Position(topic, int(numbers[0]), int(numbers[1]))


def read_dead_letters(session: Session, tenant: str, limit: int, after: Position | None) -> list[DeadLetter]:
    """In order of their places, from beyond one on."""
    of = DeadLetterRow
    place = (of.topic, of.partition, of.offset)
    shown = func.substr(of.payload, 1, SHOWN_BYTES)
    columns = (*place, of.reason, func.length(of.payload), shown, of.appended_at, of.dead_at, of.replayed_at)
    query = select(*columns).where(_belongs_to(tenant)).order_by(*place).limit(limit)
    if after is not None:
        query = query.where(tuple_(*place) > (after.topic, after.partition, after.offset))
    return [DeadLetter(Position(*row[:3]), *row[3:]) for row in session.execute(query)]


def count_dead_letters(session: Session, tenant: str) -> int:
    """Those that were not replayed."""
    mine = (_belongs_to(tenant), DeadLetterRow.replayed_at.is_(None))
    return session.scalar(select(func.count()).select_from(DeadLetterRow).where(*mine)) or 0


def read_record(session: Session, tenant: str, position: Position) -> Record:
    """The record as it stood in the log.

    Raises:
        Problem: the tenant has no such dead letter.
    """
    row = _find(session, tenant, position)
    return unpacked(row.envelope, row.payload)


def mark_replayed(session: Session, tenant: str, position: Position, now: int) -> None:
    """Raises Problem where the tenant has no such dead letter."""
    _find(session, tenant, position).replayed_at = now


def delete_dead_letter(session: Session, tenant: str, position: Position) -> None:
    """Raises Problem where the tenant has no such dead letter."""
    session.delete(_find(session, tenant, position))


def _find(session: Session, tenant: str, position: Position) -> DeadLetterRow:
    of = DeadLetterRow
    at = (of.topic == position.topic, of.partition == position.partition, of.offset == position.offset)
    row = session.scalar(select(of).where(*at, _belongs_to(tenant)))
    if row is None:
        raise _unknown()
    return row


def _belongs_to(tenant: str) -> ColumnElement[bool]:
    # What does not say whose it is belongs to whoever runs the platform.
    own = DeadLetterRow.tenant == tenant
    return or_(own, DeadLetterRow.tenant.is_(None)) if tenant == BOOTSTRAP_TENANT else own


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(2**62))


def _unknown() -> Problem:
    return Problem(ProblemType.UNKNOWN_DEAD_LETTER, "The tenant has no dead letter of this id.", "dead_letter_id")
