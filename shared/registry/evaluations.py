"""Evaluations and their leases, inside the caller's transaction. The row is the truth, a Celery message a hint."""

from collections.abc import Mapping

from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from shared.db.loops import keep_loop
from shared.db.offsets import stored_covers
from shared.db.tables import EvaluationRow
from shared.domain import Evaluation, EvaluationRef, ModelRef
from shared.registry.training_runs import LONGEST_QUEUED, LeaseLostError


def request_evaluation(
    session: Session, tenant: str, loop_id: str, settings: Mapping[str, object], covers: Mapping[str, int], now: int
) -> Evaluation:
    """A new one, queued."""
    keep_loop(session, tenant, loop_id)
    row = EvaluationRow(
        tenant=tenant,
        loop_id=loop_id,
        evaluation_id=str(uuid7()),
        status="queued",
        settings=dict(settings),
        requested_at=now,
        covers=dict(covers),
        progress=0.0,
    )
    session.add(row)
    session.flush()
    return _evaluation(row)


def read_evaluation(session: Session, ref: EvaluationRef) -> Evaluation | None:
    row = session.get(EvaluationRow, _key(ref))
    return None if row is None else _evaluation(row)


def read_evaluations(
    session: Session, tenant: str, loop_id: str, limit: int, before: str | None = None
) -> list[Evaluation]:
    """Those of a loop, newest first; `before` is the `evaluation_id` that the page before this one ended with."""
    of = EvaluationRow
    query = select(of).where(of.tenant == tenant, of.loop_id == loop_id)
    if before is not None:
        query = query.where(of.evaluation_id < before)
    return [_evaluation(row) for row in session.scalars(query.order_by(of.evaluation_id.desc()).limit(limit))]


def evaluations_of_version(session: Session, ref: ModelRef, limit: int) -> list[Evaluation]:
    """Those that have told what a model version is worth, among the loop's newest so many; newest first."""
    target = {"model_version": str(ref.version)}
    newest = read_evaluations(session, ref.tenant, ref.loop_id, limit)
    return [one for one in newest if one.status == "succeeded" and one.settings.get("target") == target]


def take_evaluation(session: Session, ref: EvaluationRef, owner: str, now: int, duration: int) -> Evaluation | None:
    """The evaluation, now this owner's until `now + duration`; None where it is done or another owner's lease lasts."""
    row = session.get(EvaluationRow, _key(ref), with_for_update=True)
    if row is None or row.status not in ("queued", "running"):
        return None
    if row.lease_expires_at is not None and row.lease_expires_at > now:
        return None
    row.status = "running"
    row.started_at = row.started_at or now
    row.lease_owner, row.lease_expires_at = owner, now + duration
    return _evaluation(row)


def report_evaluation(
    session: Session, ref: EvaluationRef, owner: str, now: int, duration: int, progress: float
) -> None:
    """Keeps the lease until `now + duration`; progress goes from 0 to 1.

    Raises:
        LeaseLostError: the lease is another owner's.
    """
    row = _leased_row(session, ref, owner)
    row.lease_expires_at, row.progress = now + duration, progress


def finish_evaluation(
    session: Session,
    ref: EvaluationRef,
    owner: str,
    now: int,
    result: Mapping[str, object] | None,
    detail: str | None = None,
) -> None:
    """Ends it: it succeeded with a result, else failed, and `detail` says why.

    Raises:
        LeaseLostError: the lease is another owner's.
    """
    row = _leased_row(session, ref, owner)
    row.status = "failed" if result is None else "succeeded"
    row.result, row.detail = None if result is None else dict(result), detail
    row.finished_at = now
    row.progress = row.progress if result is None else 1.0
    row.lease_owner = row.lease_expires_at = None


def evaluations_to_enqueue(session: Session, now: int) -> list[EvaluationRef]:
    """Those whose message must be sent again, oldest first: queued too long, or their worker is gone."""
    of = EvaluationRow
    waits = (of.status == "queued") & (of.requested_at <= now - LONGEST_QUEUED)
    lost = (of.status == "running") & (of.lease_expires_at <= now)
    query = select(of.tenant, of.loop_id, of.evaluation_id).where(or_(waits, lost)).order_by(of.evaluation_id)
    return [EvaluationRef(*row) for row in session.execute(query)]


def _key(ref: EvaluationRef) -> tuple[str, str, str]:
    return ref.tenant, ref.loop_id, ref.evaluation_id


def _leased_row(session: Session, ref: EvaluationRef, owner: str) -> EvaluationRow:
    row = session.get(EvaluationRow, _key(ref), with_for_update=True)
    if row is None or row.lease_owner != owner:
        raise LeaseLostError(f"evaluation {ref.evaluation_id} is no longer leased by {owner}")
    return row


def _evaluation(row: EvaluationRow) -> Evaluation:
    return Evaluation(
        tenant=row.tenant,
        loop_id=row.loop_id,
        evaluation_id=row.evaluation_id,
        status=row.status,  # type: ignore[arg-type] # only this module writes it
        settings=row.settings,
        requested_at=row.requested_at,
        covers=stored_covers(row.covers),
        started_at=row.started_at,
        finished_at=row.finished_at,
        progress=row.progress,
        result=row.result,
        detail=row.detail,
    )
