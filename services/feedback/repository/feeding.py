"""How far each version that an alias names has been given the loop's experiences."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from shared.db.dialects import insert_on_conflict
from shared.db.tables import ConsumerOffsetRow, LoopRow, ModelAliasRow, ModelVersionRow
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


def versions_behind(session: Session) -> list[VersionBehind]:
    """Those that aliases name and that are not known to have all; a version lacks nothing that its statistics cover."""
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
    rows = session.execute(query)
    return [
        VersionBehind(ModelRef(tenant, loop, number), sha256, at, last)
        for tenant, loop, number, sha256, at, last in rows
    ]


def set_fed(session: Session, version: VersionBehind, sequence: int) -> None:
    """Notes that the log has all that the version lacked up to a sequence."""
    ref = version.ref
    key = {"consumer": CONSUMER, "topic": f"{ref.tenant}/{ref.loop_id}", "partition": ref.version}
    insert = insert_on_conflict(session, ConsumerOffsetRow).values(**key, offset=sequence, epoch=0)
    # Never back: another feedback service may have fed it further.
    behind = ConsumerOffsetRow.offset < sequence
    keys = ["consumer", "topic", "partition"]
    session.execute(insert.on_conflict_do_update(index_elements=keys, set_={"offset": sequence}, where=behind))
