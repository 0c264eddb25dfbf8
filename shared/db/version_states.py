"""States of experiences under each version that serves: in the decision where the version made it, else as it was fed.

What stands here was written before the log was given it, so that a reader who starts at the log's end lacks nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import wire
from shared.db.decisions import EXPERIENCE_COLUMNS, experience_of, read_logged
from shared.db.dialects import insert_on_conflict
from shared.db.tables import ExperienceRow, VersionStateRow
from shared.domain import Experience, Floats, ModelRef
from shared.pb.events.v1 import events_pb2

FLOATS: Final = np.dtype("<f4")


def add_states(session: Session, version: int, experiences: Sequence[Experience]) -> None:
    """Keeps the states that a version is fed, so that a head can be made again when the log has dropped them.

    Those that are there already stay as they are.
    """
    rows = [
        {
            "tenant": one.tenant,
            "loop_id": one.loop_id,
            "version": version,
            "sequence": one.sequence,
            "state": _bytes(one.state),
            "action_embedding": _bytes(one.action_embedding),
        }
        for one in experiences
    ]
    if rows:
        session.execute(insert_on_conflict(session, VersionStateRow).on_conflict_do_nothing(), rows)


def read_under(session: Session, ref: ModelRef, after: int, limit: int, *, decided_too: bool) -> list[Experience]:
    """A loop's oldest experiences beyond a sequence, in order, as a version learns them; up to the first that it lacks.

    `decided_too` says that the states of its own decisions are taken from these, not from what it was fed.
    """
    found = read_stateless(session, ref, after, limit)
    own = {one.decision_id for one in found if decided_too and one.model_version == ref.version}
    logged = read_logged(session, ref.tenant, ref.loop_id, own) if own else {}
    fed = _read_fed(session, ref, after, found[-1].sequence) if found else {}
    under: list[Experience] = []
    for one in found:
        known = _as_decided(one, logged[one.decision_id]) if one.decision_id in logged else _as_fed(one, ref, fed)
        if known is None:
            break
        under.append(known)
    return under


def read_stateless(session: Session, ref: ModelRef, after: int, limit: int) -> list[Experience]:
    """The same for a version that only counts them."""
    of = ExperienceRow
    query = select(*EXPERIENCE_COLUMNS).where(of.tenant == ref.tenant, of.loop_id == ref.loop_id, of.sequence > after)
    return [experience_of(row) for row in session.execute(query.order_by(of.sequence).limit(limit))]


def _read_fed(session: Session, ref: ModelRef, after: int, until: int) -> dict[int, VersionStateRow]:
    of = VersionStateRow
    mine = (of.tenant == ref.tenant, of.loop_id == ref.loop_id, of.version == ref.version)
    rows = session.scalars(select(of).where(*mine, of.sequence > after, of.sequence <= until))
    return {row.sequence: row for row in rows}


def _as_decided(experience: Experience, decision: events_pb2.DecisionMade) -> Experience:
    state = wire.floats_from_pb(decision.state, 1) if decision.HasField("state") else None
    return replace(experience, state=state)


def _as_fed(experience: Experience, ref: ModelRef, fed: dict[int, VersionStateRow]) -> Experience | None:
    row = fed.get(experience.sequence)
    if row is None:
        return None
    return replace(
        experience,
        model_version=ref.version,
        state=_floats(row.state),
        action_embedding=_floats(row.action_embedding),
    )


def _floats(data: bytes | None) -> Floats | None:
    return None if data is None else np.frombuffer(data, FLOATS).astype(np.float32, copy=False)


def _bytes(array: Floats | None) -> bytes | None:
    return None if array is None else array.astype(FLOATS).tobytes()
