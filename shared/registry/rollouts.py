"""Rollouts: begun, led on and ended, each step with its event and its aliases in the caller's transaction."""

from collections.abc import Sequence
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from shared.db.loops import lock_loop
from shared.db.tables import LoopRow, ModelAliasRow, RolloutEventRow, RolloutRow
from shared.domain import Alias, ModelRef
from shared.loop_settings import RolloutSettings
from shared.registry.versions import move_alias, read_champion, read_version, take_alias_away
from shared.registry.webhooks import tell_webhooks
from shared.rollouts import OPEN, Figures, Rollout, RolloutEvent, RolloutEventKind, RolloutRef, RolloutStatus

Refusal = Literal[
    "unknown_version",
    "version_not_ready",
    "version_collected",
    "version_serves",
    "under_way",
    "ended",
    "champion_moved",
]
REFUSALS: Final[dict[Refusal, str]] = {
    "unknown_version": "The loop has no version of this number",
    "version_not_ready": "The version was turned down: it can never serve",
    "version_collected": "The version's weights were deleted, since nothing needed them: import it, if it was exported",
    "version_serves": "The version is the champion already",
    "under_way": "The loop has a rollout under way: promote it or roll it back first",
    "ended": "The rollout has ended",
    "champion_moved": "Another version has become the champion since",
}
ENDS: Final[dict[RolloutStatus, RolloutEventKind]] = {
    "promoted": "promoted",
    "rolled_back": "rolled_back",
    "stopped": "stopped",
}


class RolloutRefusedError(ValueError):
    """The rollout cannot begin, or be led so."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(REFUSALS[refusal])
        self.refusal = refusal


def start_rollout(session: Session, ref: ModelRef, settings: RolloutSettings, now: int, by: str) -> Rollout:
    """The rollout of a ready version; of strategy `immediate`, promoted already.

    Raises:
        RolloutRefusedError: it is not a version that can take over, or another rollout is under way.
    """
    lock_loop(session, ref.tenant, ref.loop_id)
    champion = read_champion(session, ref.tenant, ref.loop_id)
    _refuse_unfit(session, ref, None if champion is None else champion.version)
    row = RolloutRow(
        tenant=ref.tenant,
        loop_id=ref.loop_id,
        rollout_id=str(uuid7()),
        version=ref.version,
        champion_version=None if champion is None else champion.version,
        status="running",
        settings=settings.model_dump(mode="json"),
        step=0,
        step_started_at=now,
        started_at=now,
        start_sequence=session.get_one(LoopRow, (ref.tenant, ref.loop_id)).last_sequence,
        figures={},
    )
    session.add(row)
    _note(session, row, "started", now, by, settings.strategy, {})
    challenger = session.get(ModelAliasRow, (ref.tenant, ref.loop_id, "challenger"))
    if challenger is not None and challenger.version == ref.version:
        take_alias_away(session, ref.tenant, ref.loop_id, "challenger", now, by)
    if settings.shares:
        _point(session, row, now, by)
    else:
        _end(session, row, "promoted", now, by, None, {})
    session.flush()
    return _rollout(row)


def step_rollout(session: Session, ref: RolloutRef, step: int, now: int, by: str, figures: Figures) -> Rollout:
    """Goes on from this step to the next one; does nothing where it has gone on already.

    Raises:
        RolloutRefusedError: it has ended.
    """
    row = _open_row(session, ref)
    if row.step != step:
        return _rollout(row)
    row.step += 1
    row.step_started_at = now
    _note(session, row, "stepped", now, by, None, figures)
    _point(session, row, now, by)
    return _rollout(row)


def hold_rollout(
    session: Session,
    ref: RolloutRef,
    status: Literal["running", "paused", "inconclusive"],
    now: int,
    by: str,
    detail: str | None = None,
    figures: Figures | None = None,
) -> Rollout:
    """Pauses it, resumes it, or holds it for want of a verdict: the shares stay as they are.

    Raises:
        RolloutRefusedError: it has ended.
    """
    row = _open_row(session, ref)
    if row.status != status:
        row.status, row.detail = status, detail
        _note(session, row, "resumed" if status == "running" else status, now, by, detail, figures or {})
    return _rollout(row)


def end_rollout(
    session: Session,
    ref: RolloutRef,
    status: Literal["promoted", "rolled_back", "stopped"],
    now: int,
    by: str,
    detail: str | None = None,
    figures: Figures | None = None,
) -> Rollout:
    """Promotes the version, or gives everything back to the champion.

    One that was promoted can still be rolled back while its version is the champion.

    Raises:
        RolloutRefusedError: it has ended, or another version has become the champion since.
    """
    lock_loop(session, ref.tenant, ref.loop_id)
    row = session.get(RolloutRow, (ref.tenant, ref.loop_id, ref.rollout_id), with_for_update=True)
    if row is None or (row.status not in OPEN and (row.status, status) != ("promoted", "rolled_back")):
        raise RolloutRefusedError("ended")
    _end(session, row, status, now, by, detail, figures or {})
    return _rollout(row)


def set_figures(session: Session, ref: RolloutRef, figures: Figures) -> None:
    """Keeps what was found last."""
    row = session.get(RolloutRow, (ref.tenant, ref.loop_id, ref.rollout_id))
    if row is not None:
        row.figures = dict(figures)


def read_rollout(session: Session, ref: RolloutRef) -> Rollout | None:
    row = session.get(RolloutRow, (ref.tenant, ref.loop_id, ref.rollout_id))
    return None if row is None else _rollout(row)


def read_rollouts(session: Session, tenant: str, loop_id: str, limit: int, before: str | None = None) -> list[Rollout]:
    """Of a loop, newest first; `before` is the id that the page before this one ended with."""
    of = RolloutRow
    query = select(of).where(of.tenant == tenant, of.loop_id == loop_id)
    if before is not None:
        query = query.where(of.rollout_id < before)
    return [_rollout(row) for row in session.scalars(query.order_by(of.rollout_id.desc()).limit(limit))]


def open_rollouts(session: Session) -> list[Rollout]:
    """Of all loops: one at most of each."""
    query = select(RolloutRow).where(RolloutRow.status.in_(OPEN)).order_by(RolloutRow.rollout_id)
    return [_rollout(row) for row in session.scalars(query)]


def open_rollout(session: Session, tenant: str, loop_id: str) -> Rollout | None:
    """The one that is under way in a loop."""
    of = RolloutRow
    row = session.scalar(select(of).where(of.tenant == tenant, of.loop_id == loop_id, of.status.in_(OPEN)).limit(1))
    return None if row is None else _rollout(row)


def read_rollout_events(session: Session, ref: RolloutRef) -> list[RolloutEvent]:
    """Oldest first."""
    of = RolloutEventRow
    query = select(of).where(of.tenant == ref.tenant, of.loop_id == ref.loop_id, of.rollout_id == ref.rollout_id)
    return [
        RolloutEvent(row.event_id, row.at, row.kind, row.caused_by, row.step, row.detail, _figures(row.figures))  # type: ignore[arg-type] # only this module writes it
        for row in session.scalars(query.order_by(of.event_id))
    ]


def _refuse_unfit(session: Session, ref: ModelRef, champion: int | None) -> None:
    version = read_version(session, ref)
    if version is None:
        raise RolloutRefusedError("unknown_version")
    if version.status != "ready":
        raise RolloutRefusedError("version_collected" if version.status == "collected" else "version_not_ready")
    if ref.version == champion:
        raise RolloutRefusedError("version_serves")
    if open_rollout(session, ref.tenant, ref.loop_id) is not None:
        raise RolloutRefusedError("under_way")


def _open_row(session: Session, ref: RolloutRef) -> RolloutRow:
    lock_loop(session, ref.tenant, ref.loop_id)
    row = session.get(RolloutRow, (ref.tenant, ref.loop_id, ref.rollout_id), with_for_update=True)
    if row is None or row.status not in OPEN:
        raise RolloutRefusedError("ended")
    return row


def _point(session: Session, row: RolloutRow, now: int, by: str) -> None:
    """Names the version what it is in this step, so that services load it and heads learn."""
    model, rollout = ModelRef(row.tenant, row.loop_id, row.version), _rollout(row)
    # `shadow` stays beside `canary`: the version must not be unloaded in between.
    alias: Alias = "shadow" if rollout.percent == 0 else "canary"
    move_alias(session, model, alias, now, by)


def _end(
    session: Session, row: RolloutRow, status: RolloutStatus, now: int, by: str, detail: str | None, figures: Figures
) -> None:
    if row.status == "promoted":
        _give_back(session, row, now, by)
    else:
        if status == "promoted":
            move_alias(session, ModelRef(row.tenant, row.loop_id, row.version), "champion", now, by)
        names: Sequence[Alias] = ("canary", "shadow")
        for alias in names:
            take_alias_away(session, row.tenant, row.loop_id, alias, now, by)
    row.status, row.finished_at, row.detail = status, now, detail
    if figures:
        row.figures = dict(figures)
    _note(session, row, ENDS[status], now, by, detail, figures)


def _give_back(session: Session, row: RolloutRow, now: int, by: str) -> None:
    champion = read_champion(session, row.tenant, row.loop_id)
    if champion is None or champion.version != row.version or row.champion_version is None:
        raise RolloutRefusedError("champion_moved")
    move_alias(session, ModelRef(row.tenant, row.loop_id, row.champion_version), "champion", now, by)


def _note(
    session: Session,
    row: RolloutRow,
    kind: RolloutEventKind,
    now: int,
    by: str,
    detail: str | None,
    figures: Figures,
) -> None:
    event = RolloutEvent(str(uuid7()), now, kind, by, row.step, detail, figures)
    session.add(
        RolloutEventRow(
            tenant=row.tenant,
            loop_id=row.loop_id,
            rollout_id=row.rollout_id,
            event_id=event.event_id,
            at=now,
            kind=kind,
            caused_by=by,
            step=row.step,
            detail=detail,
            figures=dict(figures),
        )
    )
    tell_webhooks(session, RolloutRef(row.tenant, row.loop_id, row.rollout_id), row.version, event)


def _figures(stored: dict[str, object]) -> Figures:
    return {name: value for name, value in stored.items() if isinstance(value, float | int | str | None)}


def _rollout(row: RolloutRow) -> Rollout:
    return Rollout(
        tenant=row.tenant,
        loop_id=row.loop_id,
        rollout_id=row.rollout_id,
        version=row.version,
        champion_version=row.champion_version,
        status=row.status,  # type: ignore[arg-type] # only this module writes it
        settings=RolloutSettings.model_validate(row.settings),
        step=row.step,
        step_started_at=row.step_started_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        start_sequence=row.start_sequence,
        detail=row.detail,
        figures=_figures(row.figures),
    )
