"""Does it depend on the drawn action whether a decision becomes an experience of it? Then a log is not what was drawn.

A deferred decision may never be shown, and another action than the drawn one may be: both leave rows out, which does no
harm as long as they are left out alike whatever was drawn.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from shared.db.tables import DecisionRow
from shared.evaluation.settings import EvaluationSettings
from shared.loop_settings import Loop

# Of the test's false alarms.
LEVEL: Final = 0.001

# Kept and left out, by action.
Counts = Sequence[tuple[int, int]]


def selection_warnings(session: Session, loop: Loop, settings: EvaluationSettings, now: int) -> list[str]:
    """What to say of the decisions in an evaluation's window; nothing where rates are alike."""
    of = DecisionRow
    shown = of.activated_at.is_not(None)
    replaced = of.served_action_id.is_not(None) & (of.served_action_id != of.action_id)
    query = (
        select(_count(of.deferred & shown), _count(of.deferred & ~shown), _count(~replaced), _count(replaced))
        .where(of.tenant == loop.tenant, of.loop_id == loop.loop_id)
        .where(of.decided_at < now - round(loop.settings.reward_wait_time.total_seconds() * 1e6))
        .group_by(of.action_id)
    )
    if settings.since is not None:
        query = query.where(of.decided_at >= settings.since)
    if settings.until is not None:
        query = query.where(of.decided_at < settings.until)
    rows = session.execute(query).all()
    found = []
    if depends_on_action([(row[0], row[1]) for row in rows]):
        found.append("How often deferred decisions are activated depends on the action: the log is biased.")
    if depends_on_action([(row[2], row[3]) for row in rows]):
        found.append("How often another action is served depends on the drawn one: the log is biased.")
    return found


def _count(holds: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((holds, 1), else_=0)), 0)


def depends_on_action(counts: Counts) -> bool:
    """By Pearson's χ² test of independence, for the actions that were drawn at all."""
    drawn = [pair for pair in counts if sum(pair)]
    kept, left_out = (sum(pair[place] for pair in drawn) for place in (0, 1))
    if len(drawn) < 2 or not kept or not left_out:
        return False
    from scipy.stats import chi2_contingency

    return float(chi2_contingency(drawn, correction=False).pvalue) < LEVEL
