"""How far each version that an alias names has been given the loop's experiences."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, false, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.feedback.windows import LoopKey
from shared.db.dialects import insert_on_conflict
from shared.db.loops import keep_loop
from shared.db.tables import ConsumerOffsetRow, LoopRow, ModelAliasRow, ModelVersionRow, VersionStateRow
from shared.domain import ModelRef

# Of `consumer_offsets`: the topic is tenant/loop, the partition the version, the offset a sequence.
CONSUMER: Final = "feeder"


@dataclass(frozen=True, slots=True)
class VersionBehind:
    """A version that may lack experiences beyond a sequence, up to the loop's last."""

    ref: ModelRef
    manifest_sha256: str
    fed_sequence: int
    last_sequence: int


def versions_behind(session: Session, loops: Collection[LoopKey] | None = None) -> list[VersionBehind]:
    """Those that aliases name and that are not known to have all; a version lacks nothing that its statistics cover.

    Of some loops only, where they are told.
    """
    version, alias, fed = ModelVersionRow, ModelAliasRow, ConsumerOffsetRow
    sequence = func.coalesce(fed.offset, version.covers_sequence)
    query = (
        select(
            version.tenant,
            version.loop_id,
            version.version,
            version.manifest_sha256,
            sequence,
            LoopRow.last_sequence,
        )
        .distinct()
        .join(
            alias,
            and_(alias.tenant == version.tenant, alias.loop_id == version.loop_id, alias.version == version.version),
        )
        .join(LoopRow, and_(LoopRow.tenant == version.tenant, LoopRow.loop_id == version.loop_id))
        .outerjoin(
            fed,
            and_(
                fed.consumer == CONSUMER,
                fed.topic == version.tenant + "/" + version.loop_id,
                fed.partition == version.version,
            ),
        )
        .where(sequence < LoopRow.last_sequence, version.status == "ready", LoopRow.frozen_to.is_(None))
    )
    if loops is not None:
        told = ((LoopRow.tenant == tenant) & (LoopRow.loop_id == loop_id) for tenant, loop_id in loops)
        query = query.where(or_(false(), *told))
    rows = session.execute(query)
    return [
        VersionBehind(ModelRef(tenant, loop, number), sha256, at, last)
        for tenant, loop, number, sha256, at, last in rows
    ]


def is_there(session: Session, version: VersionBehind) -> bool:
    """Whether it is still that version; its loop is not deleted before the transaction ends."""
    ref = version.ref
    keep_loop(session, ref.tenant, ref.loop_id)
    row = session.get(ModelVersionRow, (ref.tenant, ref.loop_id, ref.version))
    return row is not None and row.manifest_sha256 == version.manifest_sha256


def forget_unnamed(session: Session) -> None:
    """Drops the states of versions that no alias names or named before, and how far they were fed.

    One that is named again is fed again, from what its statistics cover on.
    """
    alias, state, fed = ModelAliasRow, VersionStateRow, ConsumerOffsetRow
    of_state = and_(alias.tenant == state.tenant, alias.loop_id == state.loop_id, _names(state.version))
    session.execute(delete(state).where(~exists().where(of_state)))
    of_fed = and_(fed.topic == alias.tenant + "/" + alias.loop_id, _names(fed.partition))
    session.execute(delete(fed).where(fed.consumer == CONSUMER, ~exists().where(of_fed)))


def set_fed(session: Session, version: VersionBehind, sequence: int) -> None:
    """Notes that the log has all that the version lacked up to a sequence."""
    ref = version.ref
    key = {"consumer": CONSUMER, "topic": f"{ref.tenant}/{ref.loop_id}", "partition": ref.version}
    insert = insert_on_conflict(session, ConsumerOffsetRow).values(**key, offset=sequence, epoch=0)
    # Never back: another feedback service may have fed it further.
    behind = ConsumerOffsetRow.offset < sequence
    keys = ["consumer", "topic", "partition"]
    session.execute(insert.on_conflict_do_update(index_elements=keys, set_={"offset": sequence}, where=behind))


def _names(version: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    return or_(ModelAliasRow.version == version, ModelAliasRow.previous_version == version)
