"""How far consumers have read the log: what stands before their offsets is in the tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from sqlalchemy import bindparam, select, update
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


def stored_covers(stored: Mapping[str, object]) -> dict[str, int]:
    """What `as_covers` gave, as it comes out of a row."""
    return {name: offset for name, offset in stored.items() if isinstance(offset, int)}


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


def move_offsets(session: Session, claims: Sequence[Claim]) -> None:
    """Sets the offsets that the transaction has read up to.

    Raises:
        FencedError: a claim's epoch is over.
    """
    rows = [{f"of_{name}": value for name, value in asdict(claim).items()} for claim in claims]
    if not rows:
        return
    table = table_of(ConsumerOffsetRow)
    mine = (table.c[name] == bindparam(f"of_{name}") for name in ("consumer", "topic", "partition", "epoch"))
    # One round trip: it tells how many rows were there in all.
    moved = session.connection().execute(update(table).where(*mine).values(offset=bindparam("of_offset")), rows)
    if moved.rowcount != len(rows):
        # This says which; an epoch only grows.
        read_claims(session, claims)


def read_claims(session: Session, claims: Iterable[Claim]) -> list[Claim]:
    """The claims at the offsets that are committed.

    Raises:
        FencedError: a claim's epoch is over.
    """
    of, claims = ConsumerOffsetRow, list(claims)
    query = select(of.topic, of.partition, of.epoch, of.offset).where(of.consumer.in_({one.consumer for one in claims}))
    found = {(row.topic, row.partition, row.epoch): row.offset for row in session.execute(query)}
    for claim in claims:
        if (claim.topic, claim.partition, claim.epoch) not in found:
            raise _fenced(claim)
    return [replace(claim, offset=found[claim.topic, claim.partition, claim.epoch]) for claim in claims]


def _fenced(claim: Claim) -> FencedError:
    return FencedError(f"another {claim.consumer} has taken over {claim.topic} since epoch {claim.epoch}")
