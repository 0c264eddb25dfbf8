"""Why a model version must keep its weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import (
    AliasMoveRow,
    DecisionRow,
    EvaluationRow,
    ModelAliasRow,
    ModelVersionRow,
    RolloutRow,
    TrainingRunRow,
)
from shared.evaluation.settings import EvaluationSettings, ModelVersionTarget
from shared.rollouts import OPEN

# Clocks of machines differ.
SLACK: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Needs:
    """What needs versions of a loop; `recently` is a time, and all versions named since then are among `named`."""

    recently: int
    named: frozenset[int | None]
    rolled_out: frozenset[int | None]
    evaluated: frozenset[int]
    is_training: bool


def read_needs(session: Session, tenant: str, loop_id: str, recently: int) -> Needs:
    """As the transaction sees it."""
    alias, move, rollout = ModelAliasRow, AliasMoveRow, RolloutRow
    aliases = session.execute(
        select(alias.alias, alias.version, alias.previous_version).where(
            alias.tenant == tenant, alias.loop_id == loop_id
        )
    ).all()
    moves = session.execute(
        select(move.version, move.previous_version).where(
            move.tenant == tenant, move.loop_id == loop_id, move.moved_at > recently
        )
    ).all()
    rollouts = session.execute(
        select(rollout.status, rollout.version, rollout.champion_version)
        .where(rollout.tenant == tenant, rollout.loop_id == loop_id)
        .order_by(rollout.rollout_id.desc())
    ).all()
    named = {version for _, *both in aliases for version in both} | {version for both in moves for version in both}
    return Needs(
        recently,
        frozenset(named),
        _rolled_out(
            [(status, version, before) for status, version, before in rollouts],
            {version for name, version, _ in aliases if name == "champion"},
        ),
        _evaluated(session, tenant, loop_id),
        _is_training(session, tenant, loop_id),
    )


def why_needed(session: Session, row: ModelVersionRow, needs: Needs, is_joined: bool) -> str | None:
    """What needs a version; None where nothing does. `is_joined`: no decision that may be its own waits in the log."""
    if row.version in needs.named:
        return "an alias names it, or did lately"
    if row.version in needs.rolled_out:
        return "a rollout may bring it out, or back"
    if row.version in needs.evaluated:
        return "it is being evaluated"
    if needs.is_training:
        return "a training run is under way"
    if row.created_at > needs.recently:
        return "it is new"
    # No alias ever names one that was turned down: it has made no decision.
    if row.status == "ready" and not is_joined:
        return "decisions wait to be joined"
    if row.status == "ready" and _has_decided(session, row):
        return "decisions that it made can be replayed"
    return None


def _rolled_out(rollouts: Iterable[tuple[str, int, int | None]], champion: set[int]) -> frozenset[int | None]:
    """Versions of rollouts under way, and those that a promotion can be taken back to, one after the other."""
    needed: set[int | None] = set(champion)
    for status, version, before in rollouts:
        if status in OPEN:
            needed |= {version, before}
        elif status == "promoted" and version in needed:
            needed.add(before)
    return frozenset(needed)


def _evaluated(session: Session, tenant: str, loop_id: str) -> frozenset[int]:
    of = EvaluationRow
    query = select(of.settings).where(of.tenant == tenant, of.loop_id == loop_id, of.status.in_(("queued", "running")))
    targets = (EvaluationSettings.model_validate(settings).target for settings in session.scalars(query))
    return frozenset(int(target.model_version) for target in targets if isinstance(target, ModelVersionTarget))


def _is_training(session: Session, tenant: str, loop_id: str) -> bool:
    of = TrainingRunRow
    # One that is queued reads the champion once it begins.
    query = select(of.training_run_id).where(of.tenant == tenant, of.loop_id == loop_id, of.status == "running")
    return session.scalar(query.limit(1)) is not None


def _has_decided(session: Session, row: ModelVersionRow) -> bool:
    of = DecisionRow
    query = select(of.decision_id).where(of.tenant == row.tenant, of.loop_id == row.loop_id)
    query = query.where(of.decided_at >= row.created_at - SLACK, of.model_version == row.version)
    return session.scalar(query.limit(1)) is not None
