"""How far each version that an alias names has been given the loop's experiences."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from shared import wire
from shared.db.decisions import experience_of
from shared.db.dialects import insert_on_conflict
from shared.db.tables import ConsumerOffsetRow, DecisionRow, ExperienceRow, LoopRow, ModelAliasRow, ModelVersionRow
from shared.domain import Decision, Experience, ModelRef
from shared.pb.events.v1 import events_pb2

# Of `consumer_offsets`: the topic is tenant/loop, the partition the version, the offset a sequence.
CONSUMER: Final = "feeder"


@dataclass(frozen=True, slots=True)
class VersionBehind:
    """A version that lacks experiences beyond a sequence."""

    ref: ModelRef
    manifest_sha256: str
    fed_sequence: int


def versions_behind(session: Session) -> list[VersionBehind]:
    """Those that aliases name and that lack something; a version lacks nothing that its statistics cover."""
    version, alias, fed = ModelVersionRow, ModelAliasRow, ConsumerOffsetRow
    sequence = func.coalesce(fed.offset, version.covers_sequence)
    query = (
        select(version.tenant, version.loop_id, version.version, version.manifest_sha256, sequence)
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
        .where(sequence < LoopRow.last_sequence, version.status == "ready")
    )
    rows = session.execute(query)
    return [VersionBehind(ModelRef(tenant, loop, number), sha256, at) for tenant, loop, number, sha256, at in rows]


def read_joined(session: Session, version: VersionBehind, limit: int) -> list[tuple[Experience, Decision]]:
    """The experiences that the version lacks, in order, with the decisions that they come from."""
    of, ref = ExperienceRow, version.ref
    decision = and_(
        DecisionRow.tenant == of.tenant, DecisionRow.loop_id == of.loop_id, DecisionRow.decision_id == of.decision_id
    )
    query = (
        select(of, DecisionRow.payload)
        .join(DecisionRow, decision)
        .where(of.tenant == ref.tenant, of.loop_id == ref.loop_id, of.sequence > version.fed_sequence)
        .order_by(of.sequence)
        .limit(limit)
    )
    return [
        (experience_of(row), wire.decision_from_pb(events_pb2.DecisionMade.FromString(payload)))
        for row, payload in session.execute(query)
    ]


def set_fed(session: Session, version: VersionBehind, sequence: int) -> None:
    """Notes that the log has all that the version lacked up to a sequence."""
    ref = version.ref
    key = {"consumer": CONSUMER, "topic": f"{ref.tenant}/{ref.loop_id}", "partition": ref.version}
    insert = insert_on_conflict(session, ConsumerOffsetRow).values(**key, offset=sequence, epoch=0)
    session.execute(
        insert.on_conflict_do_update(index_elements=["consumer", "topic", "partition"], set_={"offset": sequence})
    )
