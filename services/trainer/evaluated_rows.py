"""A loop's log as evaluations read it: what was drawn from which distribution, and what a written-down target does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.trainer.segments import segment_of
from shared import wire
from shared.db.decisions import OF_ITS_DECISION
from shared.db.tables import DecisionRow, ExperienceRow
from shared.domain import Decision, Doubles
from shared.evaluation.settings import (
    ConstantTarget,
    EvaluationSettings,
    ModelVersionTarget,
    ProbabilityTable,
    TableTarget,
)
from shared.loop_settings import Loop
from shared.pb.events.v1 import events_pb2

MICROSECONDS: Final = 1_000_000
# Rows that are read at once.
CHUNK: Final = 500
# Rows times the most candidates of one: bounds the memory to some hundred MB.
MOST_CELLS: Final = 10_000_000
# By what a decision's candidates are chosen; a model version's are not known by the decision alone.
Choose = Callable[[Decision], Doubles]


class EvaluationError(RuntimeError):
    """It cannot be done on this log; the text says why."""


@dataclass(frozen=True, slots=True)
class EvaluatedRow:
    """A matured experience whose action was drawn from a known distribution; A candidates.

    `allowed` counts the candidates that were not excluded. `target` is None where a model version is asked later; what
    it lacks to one would choose none of the candidates. `key` tells contexts apart for the expected rewards.
    """

    decision_id: str
    first_sequence: int
    action_ids: tuple[str, ...]
    allowed: int
    taken: int
    probabilities: Doubles  # [A]
    target: Doubles | None  # [A]
    reward: float
    cluster: str
    key: str


@dataclass(slots=True)
class EvaluatedRows:
    """Oldest first, with how many others were left out."""

    rows: list[EvaluatedRow] = field(default_factory=list)
    without_propensity: int = 0
    immature: int = 0


def read_evaluated_rows(
    session: Session, loop: Loop, settings: EvaluationSettings, now: int, limit: int, progress: Callable[[int], None]
) -> EvaluatedRows:
    """The newest of the window, so many at most; tells how many it has read.

    Raises:
        EvaluationError: the target says nothing of a candidate, or of a context.
    """
    choose = _choice(loop, settings)
    table = settings.target.table if isinstance(settings.target, TableTarget) else None
    found, read, widest = EvaluatedRows(), 0, 1
    for row in _read(session, loop, settings, limit):
        read += 1
        if read % CHUNK == 0:
            progress(read)
        if not _is_mature(row, loop, now):
            found.immature += 1
            continue
        decision = wire.decision_from_pb(events_pb2.DecisionMade.FromString(row.payload))
        key = "" if table is None else _key(loop, table, decision)
        evaluated = _evaluated(row, decision, choose, key)
        if evaluated is None:
            found.without_propensity += 1
            continue
        widest = max(widest, len(evaluated.action_ids))
        if (len(found.rows) + 1) * widest > MOST_CELLS:
            break
        found.rows.append(evaluated)
    found.rows.reverse()
    return found


def _is_mature(row: "_Joined", loop: Loop, now: int) -> bool:
    """What closed early may tell of what is quick alone; an imported reward is all that there will be."""
    started = row.decided_at if row.activated_at is None else row.activated_at
    wait = round(loop.settings.reward_wait_time.total_seconds() * MICROSECONDS)
    return row.closed_by == "import" or started + wait < now


def _evaluated(row: "_Joined", decision: Decision, choose: Choose | None, key: str) -> EvaluatedRow | None:
    """None where it is not known how likely the action was."""
    ids = tuple(action.id for action in decision.actions)
    taken = ids.index(row.action_id) if row.action_id in ids else None
    if row.probability is None or taken is None or not 0 < decision.probabilities[taken] <= 1:
        return None
    return EvaluatedRow(
        decision_id=decision.decision_id,
        first_sequence=row.first_sequence,
        action_ids=ids,
        allowed=len(set(ids).difference(decision.excluded_action_ids)),
        taken=taken,
        probabilities=decision.probabilities,
        target=None if choose is None else choose(decision),
        reward=row.reward,
        cluster=_cluster(decision),
        key=key,
    )


def _read(session: Session, loop: Loop, settings: EvaluationSettings, limit: int) -> Iterator["_Joined"]:
    of = ExperienceRow
    query = (
        select(
            func.coalesce(of.restates_sequence, of.sequence),
            of.decided_at,
            of.action_id,
            of.probability,
            of.reward,
            of.closed_by,
            DecisionRow.activated_at,
            DecisionRow.payload,
        )
        .join(DecisionRow, OF_ITS_DECISION)
        .where(of.tenant == loop.tenant, of.loop_id == loop.loop_id, ~of.superseded)
        .order_by(of.decided_at.desc(), of.sequence.desc())
        .limit(limit)
    )
    if settings.since is not None:
        query = query.where(of.decided_at >= settings.since)
    if settings.until is not None:
        query = query.where(of.decided_at < settings.until)
    for row in session.execute(query.execution_options(yield_per=CHUNK)):
        yield _Joined(*row)


@dataclass(frozen=True, slots=True)
class _Joined:
    first_sequence: int
    decided_at: int
    action_id: str
    probability: float | None
    reward: float
    closed_by: str
    activated_at: int | None
    payload: bytes


def _cluster(decision: Decision) -> str:
    """Whose decision it is: what one subject does, or what happens in one episode, hangs together."""
    if decision.subject_id is not None:
        return f"subject {decision.subject_id}"
    return f"decision {decision.decision_id}" if decision.episode_id is None else f"episode {decision.episode_id}"


def _choice(loop: Loop, settings: EvaluationSettings) -> Choose | None:
    """How a target chooses; None of a model version."""
    match settings.target:
        case "baseline":
            return lambda decision: _always(decision, decision.baseline_action_id or decision.actions[0].id)
        case "uniform":
            return _evenly
        case ConstantTarget(constant=action_id):
            return lambda decision: _always(decision, action_id)
        case TableTarget(table=table):
            return lambda decision: _by_table(loop, table, decision)
        case ModelVersionTarget():
            return None


def _always(decision: Decision, action_id: str) -> Doubles:
    """Nothing, where the action is no candidate."""
    return np.array([float(action.id == action_id) for action in decision.actions])


def _evenly(decision: Decision) -> Doubles:
    allowed = np.array([float(action.id not in decision.excluded_action_ids) for action in decision.actions])
    even: Doubles = allowed / allowed.sum()
    return even


def _by_table(loop: Loop, table: ProbabilityTable, decision: Decision) -> Doubles:
    shares: Mapping[str, float] = table.rows[_key(loop, table, decision)]
    missing = [action.id for action in decision.actions if action.id not in shares]
    if missing:
        raise EvaluationError(f"the table has no probability of {missing[0]!r}, a candidate of {decision.decision_id}")
    return np.array([shares[action.id] for action in decision.actions])


def _key(loop: Loop, table: ProbabilityTable, decision: Decision) -> str:
    if table.context_key is None:
        return ""
    field_of = loop.settings.segment_field(table.context_key)
    value = decision.context.get(table.context_key) if field_of is None else segment_of(decision, *field_of)
    if not isinstance(value, str) or value not in table.rows:
        raise EvaluationError(
            f"the table has no row for {value!r}, the `{table.context_key}` of {decision.decision_id}"
        )
    return value
