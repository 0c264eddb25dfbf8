"""Reports of loops as the database keeps them, inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, delete, func, select
from sqlalchemy.orm import Session

from shared.db.tables import LoopReportRow, LoopRow
from shared.loop_report import LoopReport

# A loop under steady traffic has a report a minute: these are the last eight hours.
KEPT: Final = 500


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report, the version that it is of, and the last experience that it covers."""

    tenant: str
    loop_id: str
    model_version: int
    sequence: int
    computed_at: int
    report: LoopReport


@dataclass(frozen=True, slots=True)
class CorrelationPoint:
    """How the action followed the state when a report was made; None where that could not be told."""

    model_version: int
    sequence: int
    computed_at: int
    correlation: float | None
    permuted: float | None


def add_report(session: Session, stored: StoredReport, kept: int = KEPT) -> None:
    """Keeps a report, in place of one of the same version and sequence; of the loop's, the newest `kept` stay."""
    row = LoopReportRow(
        tenant=stored.tenant,
        loop_id=stored.loop_id,
        sequence=stored.sequence,
        model_version=stored.model_version,
        computed_at=stored.computed_at,
        correlation=stored.report.modality_correlation.state.correlation,
        permuted_correlation=stored.report.modality_correlation.state.permuted,
        report=stored.report.model_dump(mode="json"),
    )
    session.merge(row)
    session.flush()
    of_loop = (LoopReportRow.tenant == stored.tenant) & (LoopReportRow.loop_id == stored.loop_id)
    order = LoopReportRow.computed_at.desc()
    oldest = session.scalar(select(LoopReportRow.computed_at).where(of_loop).order_by(order).offset(kept - 1).limit(1))
    if oldest is not None:
        session.execute(delete(LoopReportRow).where(of_loop, LoopReportRow.computed_at < oldest))


def read_newest_report(session: Session, tenant: str, loop_id: str) -> StoredReport | None:
    of = LoopReportRow
    query = select(of).where(of.tenant == tenant, of.loop_id == loop_id).order_by(of.computed_at.desc()).limit(1)
    row = session.scalar(query)
    if row is None:
        return None
    report = LoopReport.model_validate(row.report)
    return StoredReport(row.tenant, row.loop_id, row.model_version, row.sequence, row.computed_at, report)


def read_correlations(session: Session, tenant: str, loop_id: str, limit: int) -> list[CorrelationPoint]:
    """Those of the newest reports of a loop, oldest first."""
    of = LoopReportRow
    query = (
        select(of.model_version, of.sequence, of.computed_at, of.correlation, of.permuted_correlation)
        .where(of.tenant == tenant, of.loop_id == loop_id)
        .order_by(of.computed_at.desc())
        .limit(limit)
    )
    return [CorrelationPoint(*row) for row in session.execute(query)][::-1]


def loops_to_report(session: Session, least_new: int) -> Sequence[tuple[str, str]]:
    """Tenant and loop id of those with so many experiences since their last report, in order."""
    loop, of = LoopRow, LoopReportRow
    covered = func.coalesce(func.max(of.sequence), 0)
    query = (
        select(loop.tenant, loop.loop_id)
        .outerjoin(of, and_(of.tenant == loop.tenant, of.loop_id == loop.loop_id))
        .group_by(loop.tenant, loop.loop_id, loop.last_sequence)
        .having(loop.last_sequence - covered >= least_new)
        .order_by(loop.tenant, loop.loop_id)
    )
    return [(tenant, loop_id) for tenant, loop_id in session.execute(query)]
