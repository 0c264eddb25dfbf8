"""How far consumers have read the log: what stands before their offsets is in the tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from shared.db.dialects import insert_on_conflict, table_of
from shared.db.tables import ConsumerOffsetRow

JOINER: Final = "joiner"


class FencedError(RuntimeError):
    """Another process has taken over this consumer; nothing of the transaction may be kept."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition that a process reads as a consumer: from which offset on, and under which epoch."""

    consumer: str
    topic: str
    partition: int
    offset: int
    epoch: int


def read_offsets(session: Session, consumer: str = JOINER) -> dict[str, dict[int, int]]:
    """For each topic and partition, the next offset that the consumer reads; the shape of `EventLog.ends`."""
    offsets: dict[str, dict[int, int]] = {}
    for row in session.scalars(select(ConsumerOffsetRow).where(ConsumerOffsetRow.consumer == consumer)):
        offsets.setdefault(row.topic, {})[row.partition] = row.offset
    return offsets


def as_covers(ends: Mapping[str, Mapping[int, int]]) -> dict[str, int]:
    """Ends of topics as a training run keeps them: topic/partition → offset."""
    return {f"{topic}/{partition}": end for topic, of in ends.items() for partition, end in of.items()}


def covers(offsets: Mapping[str, Mapping[int, int]], wanted: Mapping[str, int]) -> bool:
    """Whether a consumer's offsets have passed what `as_covers` gave; without a partition, the first is meant."""
    places = ((name.partition("/"), end) for name, end in wanted.items())
    return all(offsets.get(topic, {}).get(int(number or 0), 0) >= end for (topic, _, number), end in places)


def take_over(session: Session, consumer: str, partitions: Iterable[tuple[str, int]]) -> list[Claim]:
    """Claims partitions under a new epoch: whoever had them before commits nothing any more."""
    table = table_of(ConsumerOffsetRow)
    claims = []
    for topic, partition in partitions:
        key = {"consumer": consumer, "topic": topic, "partition": partition}
        first = insert_on_conflict(session, ConsumerOffsetRow).values(**key, offset=0, epoch=0)
        session.execute(first.on_conflict_do_nothing())
        claim = update(table).filter_by(**key).values(epoch=table.c.epoch + 1).returning(table.c.offset, table.c.epoch)
        offset, epoch = session.execute(claim).one()
        claims.append(Claim(consumer, topic, partition, offset, epoch))
    return claims


def move_offsets(session: Session, claims: Iterable[Claim]) -> None:
    """Sets the offsets that the transaction has read up to.

    Raises:
        FencedError: a claim's epoch is over.
    """
    table = table_of(ConsumerOffsetRow)
    for claim in claims:
        mine = (*_is(claim), table.c.epoch == claim.epoch)
        moved = session.execute(update(table).where(*mine).values(offset=claim.offset).returning(table.c.offset))
        if moved.one_or_none() is None:
            raise _fenced(claim)


def read_claims(session: Session, claims: Iterable[Claim]) -> list[Claim]:
    """The claims at the offsets that are committed.

    Raises:
        FencedError: a claim's epoch is over.
    """
    found = []
    for claim in claims:
        row = session.scalars(select(ConsumerOffsetRow).where(*_is(claim))).one()
        if row.epoch != claim.epoch:
            raise _fenced(claim)
        found.append(replace(claim, offset=row.offset))
    return found


def _is(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        ConsumerOffsetRow.consumer == claim.consumer,
        ConsumerOffsetRow.topic == claim.topic,
        ConsumerOffsetRow.partition == claim.partition,
    )


def _fenced(claim: Claim) -> FencedError:
    return FencedError(f"another {claim.consumer} has taken over {claim.topic} since epoch {claim.epoch}")
