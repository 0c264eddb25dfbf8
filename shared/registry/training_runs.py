"""Training runs and their leases, inside the caller's transaction. The row is the truth, a Celery message a hint."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from shared.db.loops import lock_loop
from shared.db.offsets import stored_covers
from shared.db.tables import TrainingRunRow
from shared.domain import RunKind, RunReason, RunRef, RunStatus, TrainingRun

# A run that waits longer has lost its message, or its loop had another one under way when the message came.
LONGEST_QUEUED: Final = 5_000_000
DONE: Final[tuple[RunStatus, ...]] = ("succeeded", "failed", "skipped")


class LeaseLostError(RuntimeError):
    """Another worker has the run by now: what was done under the lease must not be kept."""


def request_run(
    session: Session,
    tenant: str,
    loop_id: str,
    kind: RunKind,
    covers: Mapping[str, int],
    now: int,
    reason: RunReason | None = None,
) -> TrainingRun:
    """A run that will start after this call; one that is queued already is taken, with its covers raised."""
    lock_loop(session, tenant, loop_id)
    for row in _open_rows(session, tenant, loop_id):
        if row.status == "queued" and row.kind == kind:
            known = stored_covers(row.covers)
            row.covers = {**known, **{topic: max(end, known.get(topic, 0)) for topic, end in covers.items()}}
            return _run(row)
    row = TrainingRunRow(
        tenant=tenant,
        loop_id=loop_id,
        training_run_id=str(uuid7()),
        kind=kind,
        status="queued",
        requested_at=now,
        covers=dict(covers),
        progress=0.0,
        steps=0,
        reason=reason,
    )
    session.add(row)
    session.flush()
    return _run(row)


def read_run(session: Session, ref: RunRef) -> TrainingRun | None:
    row = _row(session, ref)
    return None if row is None else _run(row)


def read_runs(session: Session, tenant: str, loop_id: str, limit: int, before: str | None = None) -> list[TrainingRun]:
    """Runs of a loop, newest first; `before` is the `training_run_id` that the page before this one ended with."""
    query = select(TrainingRunRow).where(TrainingRunRow.tenant == tenant, TrainingRunRow.loop_id == loop_id)
    if before is not None:
        query = query.where(TrainingRunRow.training_run_id < before)
    return [_run(row) for row in session.scalars(query.order_by(TrainingRunRow.training_run_id.desc()).limit(limit))]


def read_last_drift(session: Session, tenant: str, loop_id: str) -> int | None:
    """When drift last started a run of the loop."""
    of = TrainingRunRow
    query = select(func.max(of.requested_at)).where(of.tenant == tenant, of.loop_id == loop_id, of.reason == "drift")
    return session.scalar(query)


def take_lease(session: Session, ref: RunRef, owner: str, now: int, duration: int) -> TrainingRun | None:
    """The run, now this owner's until `now + duration`.

    None where it is done, where another owner's lease lasts, or where another run of the loop is under way: two would
    start from the same champion, and the second take over without having been held against the first.
    """
    lock_loop(session, ref.tenant, ref.loop_id)
    rows = _open_rows(session, ref.tenant, ref.loop_id)
    if any(row.lease_expires_at is not None and row.lease_expires_at > now for row in rows):
        return None
    for row in rows:
        if row.training_run_id == ref.training_run_id:
            row.status = "running"
            row.started_at = row.started_at or now
            row.lease_owner, row.lease_expires_at = owner, now + duration
            return _run(row)
    return None


def report_progress(
    session: Session, ref: RunRef, owner: str, now: int, duration: int, progress: float, loss: float | None, steps: int
) -> None:
    """Keeps the lease until `now + duration`; progress goes from 0 to 1.

    Raises:
        LeaseLostError: the lease is another owner's.
    """
    row = _leased_row(session, ref, owner)
    row.lease_expires_at = now + duration
    row.progress, row.loss, row.steps = progress, loss, steps


def finish_run(
    session: Session,
    ref: RunRef,
    owner: str,
    now: int,
    status: RunStatus,
    version: int | None = None,
    detail: str | None = None,
) -> None:
    """Ends a run; in the transaction that registers its version, so that both happen or neither.

    Raises:
        LeaseLostError: the lease is another owner's.
    """
    row = _leased_row(session, ref, owner)
    row.status, row.version, row.detail = status, version, detail
    row.finished_at = now
    row.lease_owner = row.lease_expires_at = None
    if status == "succeeded":
        row.progress = 1.0


def skip_fine_tunes(session: Session, tenant: str, loop_id: str, now: int, detail: str) -> None:
    """Ends the fine-tunes of a loop that have not ended: who works on one finds its lease lost, and brings nothing."""
    for row in _open_rows(session, tenant, loop_id):
        if row.kind == "fine_tune":
            row.status, row.detail, row.finished_at = "skipped", detail, now
            row.lease_owner = row.lease_expires_at = None


def runs_to_enqueue(session: Session, now: int) -> list[TrainingRun]:
    """Runs whose message must be sent again, oldest first: queued too long, or their worker is gone."""
    waits = (TrainingRunRow.status == "queued") & (TrainingRunRow.requested_at <= now - LONGEST_QUEUED)
    lost = (TrainingRunRow.status == "running") & (TrainingRunRow.lease_expires_at <= now)
    query = select(TrainingRunRow).where(or_(waits, lost)).order_by(TrainingRunRow.training_run_id)
    return [_run(row) for row in session.scalars(query)]


def _open_rows(session: Session, tenant: str, loop_id: str) -> list[TrainingRunRow]:
    query = (
        select(TrainingRunRow)
        .where(
            TrainingRunRow.tenant == tenant,
            TrainingRunRow.loop_id == loop_id,
            TrainingRunRow.status.not_in(DONE),
        )
        .order_by(TrainingRunRow.training_run_id)
        .with_for_update()
    )
    return list(session.scalars(query))


def _row(session: Session, ref: RunRef) -> TrainingRunRow | None:
    return session.get(TrainingRunRow, (ref.tenant, ref.loop_id, ref.training_run_id))


def _leased_row(session: Session, ref: RunRef, owner: str) -> TrainingRunRow:
    row = session.get(TrainingRunRow, (ref.tenant, ref.loop_id, ref.training_run_id), with_for_update=True)
    if row is None or row.lease_owner != owner:
        raise LeaseLostError(f"training run {ref.training_run_id} is no longer leased by {owner}")
    return row


def _run(row: TrainingRunRow) -> TrainingRun:
    return TrainingRun(
        tenant=row.tenant,
        loop_id=row.loop_id,
        training_run_id=row.training_run_id,
        kind="initialise" if row.kind == "initialise" else "fine_tune",
        status=row.status,  # type: ignore[arg-type] # only this module writes it
        requested_at=row.requested_at,
        covers=stored_covers(row.covers),
        started_at=row.started_at,
        finished_at=row.finished_at,
        progress=row.progress,
        loss=row.loss,
        steps=row.steps,
        version=row.version,
        detail=row.detail,
        reason=row.reason,  # type: ignore[arg-type] # only this module writes it
    )
