"""Loops as the database keeps them."""

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
    return Loop(row.tenant, row.loop_id, settings, row.settings_revision, row.created_at, row.online_at)
