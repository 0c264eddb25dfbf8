"""Loops as the database keeps them, and who may do what to one at the same time.

A loop's row is its lock, held until the transaction ends; on SQLite, where one transaction writes at a time, the lock
is that. `keep_loop` and `lock_loop` go well together; `seize_loop` waits for both, and both for it.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import LoopRow
from shared.loop_settings import Loop, LoopSettings


def read_loops(session: Session) -> list[Loop]:
    """Every loop of every tenant, in order of tenant and loop id."""
    rows = session.scalars(select(LoopRow).order_by(LoopRow.tenant, LoopRow.loop_id))
    return [loop_from_row(row) for row in rows]


def read_loop(session: Session, tenant: str, loop_id: str) -> Loop | None:
    row = session.get(LoopRow, (tenant, loop_id))
    return None if row is None else loop_from_row(row)


def loop_from_row(row: LoopRow) -> Loop:
    settings = LoopSettings.model_validate(row.settings)
    return Loop(
        tenant=row.tenant,
        loop_id=row.loop_id,
        settings=settings,
        settings_revision=row.settings_revision,
        created_at=row.created_at,
        online_at=row.online_at,
        frozen_to=row.frozen_to,  # type: ignore[arg-type] # only the gateway writes it
    )


def keep_loop(session: Session, tenant: str, loop_id: str) -> bool:
    """Lets nobody seize the loop: what is written of it is not left behind by its end. False where it is not there."""
    return _locked(session, tenant, loop_id, read=True, key_share=True)


def lock_loop(session: Session, tenant: str, loop_id: str) -> bool:
    """Lets nobody else change the loop's settings, runs, versions or sequence. False where it is not there."""
    return _locked(session, tenant, loop_id, key_share=True)


def seize_loop(session: Session, tenant: str, loop_id: str) -> bool:
    """Waits until nobody writes anything of the loop. False where it is not there."""
    return _locked(session, tenant, loop_id)


def _locked(session: Session, tenant: str, loop_id: str, *, read: bool = False, key_share: bool = False) -> bool:
    query = select(LoopRow.loop_id).where(LoopRow.tenant == tenant, LoopRow.loop_id == loop_id)
    return session.scalar(query.with_for_update(read=read, key_share=key_share)) is not None
