"""The gateway's SQL: loops, keys, media, the audit log, and decisions made before. Inside the caller's transaction."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from shared import wire
from shared.db.dialects import insert_on_conflict, put_row
from shared.db.loops import lock_loop, loop_from_row, seize_loop
from shared.db.tables import (
    ApiKeyRow,
    AuditRow,
    Base,
    ConsumerOffsetRow,
    DecisionRow,
    LoopRow,
    MediaRow,
    RestatementRow,
)
from shared.domain import Decision
from shared.loop_settings import FrozenTo, Loop, LoopSettings
from shared.pb.events.v1 import events_pb2
from shared.rewards import same_rewards
from shared.security import ApiKey, Role

# Tenant, loop and decision.
DecisionKey = tuple[str, str, str]
LoopKey = tuple[str, str]

OF_A_LOOP: Final = tuple(table for table in Base.metadata.sorted_tables if "loop_id" in table.columns)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which object."""

    audit_id: str
    at: int
    key_id: str
    verb: str
    object: str


def read_loop_revisions(session: Session) -> dict[LoopKey, tuple[int, int, str | None]]:
    """Revision, creation time and what it is frozen to, of every loop: a change of one means that it must be read
    again."""
    columns = (LoopRow.tenant, LoopRow.loop_id, LoopRow.settings_revision, LoopRow.created_at, LoopRow.frozen_to)
    rows = session.execute(select(*columns))
    return {(tenant, loop_id): (revision, at, frozen_to) for tenant, loop_id, revision, at, frozen_to in rows}


def freeze_loop(session: Session, tenant: str, loop_id: str, frozen_to: FrozenTo | None) -> Loop | None:
    """The loop, frozen from now on or, at None, not any more; None where it is not there."""
    lock_loop(session, tenant, loop_id)
    row = session.get(LoopRow, (tenant, loop_id))
    if row is None:
        return None
    row.frozen_to = frozen_to
    return loop_from_row(row)


def save_loop(session: Session, tenant: str, loop_id: str, settings: LoopSettings, now: int) -> tuple[Loop, bool]:
    """The loop with these settings, and whether it is new; the revision grows only where something changed.

    Where the reward is defined anew the joiner is asked to restate what is joined already.
    """
    new = {"tenant": tenant, "loop_id": loop_id, "settings": {}, "settings_revision": 0, "created_at": now}
    insert = insert_on_conflict(session, LoopRow).values(**new, last_sequence=0, published_sequence=0)
    session.execute(insert.on_conflict_do_nothing())
    lock_loop(session, tenant, loop_id)
    row = session.get_one(LoopRow, (tenant, loop_id))
    created = row.settings_revision == 0
    before = None if created else LoopSettings.model_validate(row.settings)
    if before is not None and before.learning_mode != settings.learning_mode:
        went_online = (before.learning_mode, settings.learning_mode) == ("apprentice", "online")
        row.online_at = now if went_online else None
    if before != settings:
        row.settings = settings.model_dump(mode="json")
        row.settings_revision += 1
    session.flush()
    if before is not None and not same_rewards(before, settings):
        # Begins anew where one is under way.
        put_row(
            session,
            RestatementRow,
            {
                "tenant": tenant,
                "loop_id": loop_id,
                "settings_revision": row.settings_revision,
                "done_sequence": 0,
                "until_sequence": None,
            },
        )
    return loop_from_row(row), created


def delete_loop(session: Session, tenant: str, loop_id: str) -> None:
    """Removes the loop and all that belongs to it: a loop of the same name later starts afresh."""
    seize_loop(session, tenant, loop_id)
    for table in OF_A_LOOP:
        session.execute(delete(table).where(table.c.tenant == tenant, table.c.loop_id == loop_id))
    # How far its versions were fed: a loop of the same name numbers its versions from 1 again.
    session.execute(delete(ConsumerOffsetRow).where(ConsumerOffsetRow.topic == f"{tenant}/{loop_id}"))


def read_keys(session: Session, *, lock: bool = False) -> list[ApiKey]:
    """Every key of every tenant, revoked ones too, in order of creation; `lock` lets nobody else revoke one."""
    query = select(ApiKeyRow).order_by(ApiKeyRow.key_id)
    return [_key(row) for row in session.scalars(query.with_for_update() if lock else query)]


def add_key(session: Session, tenant: str, role: Role, sha256: bytes, now: int) -> ApiKey:
    """The new key, or the one that is there already: gateways that start together bring the same first one."""
    insert = insert_on_conflict(session, ApiKeyRow)
    row = {"tenant": tenant, "key_id": str(uuid7()), "sha256": sha256, "role": role, "created_at": now}
    session.execute(insert.values(**row, revoked_at=None).on_conflict_do_nothing())
    return _key(session.scalars(select(ApiKeyRow).where(ApiKeyRow.sha256 == sha256)).one())


def revoke_key(session: Session, tenant: str, key_id: str, now: int) -> None:
    row = session.get(ApiKeyRow, (tenant, key_id))
    if row is not None and row.revoked_at is None:
        row.revoked_at = now


def add_media(session: Session, tenant: str, sha256: str, content_type: str, size: int, now: int) -> None:
    """Remembers bytes that the tenant has stored; storing them again changes their content type."""
    row = {"tenant": tenant, "sha256": sha256, "content_type": content_type, "size": size, "created_at": now}
    put_row(session, MediaRow, row)


def read_media_type(session: Session, tenant: str, sha256: str) -> str | None:
    """The content type of bytes that the tenant has stored."""
    row = session.get(MediaRow, (tenant, sha256))
    return None if row is None else row.content_type


def add_audit(session: Session, tenant: str, key_id: str, verb: str, obj: str, now: int) -> None:
    session.add(AuditRow(tenant=tenant, audit_id=str(uuid7()), at=now, key_id=key_id, verb=verb, object=obj))


def read_audit(session: Session, tenant: str, limit: int, before: str | None) -> list[AuditEntry]:
    """Newest first, from below an `audit_id` on."""
    query = select(AuditRow).where(AuditRow.tenant == tenant)
    if before is not None:
        query = query.where(AuditRow.audit_id < before)
    rows = session.scalars(query.order_by(AuditRow.audit_id.desc()).limit(limit))
    return [AuditEntry(row.audit_id, row.at, row.key_id, row.verb, row.object) for row in rows]


def read_decided(session: Session, keys: Collection[DecisionKey]) -> dict[DecisionKey, Decision]:
    """Of these decisions, those that the joiner has written."""
    of = DecisionRow
    ids: dict[LoopKey, list[str]] = {}
    for tenant, loop_id, decision_id in keys:
        ids.setdefault((tenant, loop_id), []).append(decision_id)
    # A loop at a time: SQLite would answer a list of whole keys by reading the whole table.
    return {
        (tenant, loop_id, decision_id): wire.decision_from_pb(events_pb2.DecisionMade.FromString(payload))
        for (tenant, loop_id), of_loop in ids.items()
        for decision_id, payload in session.execute(
            select(of.decision_id, of.payload).where(
                of.tenant == tenant, of.loop_id == loop_id, of.decision_id.in_(of_loop)
            )
        )
    }


def read_known_ids(session: Session, tenant: str, loop_id: str, decision_ids: Collection[str]) -> set[str]:
    """Of these ids of decisions, those that the joiner has written."""
    of = DecisionRow
    mine = (of.tenant == tenant, of.loop_id == loop_id, of.decision_id.in_(decision_ids))
    return set(session.scalars(select(of.decision_id).where(*mine)))


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        tenant=row.tenant,
        key_id=row.key_id,
        role=row.role,  # type: ignore[arg-type] # only add_key writes it
        sha256=row.sha256,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
