"""A small bandit written straight into the tables: embeddings as contexts, and one right action for each."""

from dataclasses import replace

import numpy as np
from sqlalchemy import Engine, update
from uuid_utils import uuid7

from benchmarks.joined_rows import rows_of
from shared.db.engine import read_session, write_session
from shared.db.loops import read_loop
from shared.db.tables import LoopRow
from shared.domain import Action, Decision, Floats, RunKind, RunRef, Scores
from shared.loop_settings import Loop, LoopSettings
from shared.registry.training_runs import request_run

TENANT, LOOP_ID = "acme", "news"
DIMENSION = 6
ACTIONS = ("left", "middle", "right")


def settings(**changes: object) -> LoopSettings:
    body = {
        "modalities": {"place": {"kind": "embedding", "dimension": DIMENSION}},
        "actions": [{"id": action} for action in ACTIONS],
        "learning": {"max_steps": 120},
    }
    return LoopSettings.model_validate(body | changes)


def add_loop(engine: Engine, of: LoopSettings) -> Loop:
    with write_session(engine) as session:
        body = of.model_dump(mode="json")
        session.add(LoopRow(tenant=TENANT, loop_id=LOOP_ID, settings=body, settings_revision=1, created_at=0))
        session.flush()
        loop = read_loop(session, TENANT, LOOP_ID)
    assert loop is not None
    return loop


def add_run(engine: Engine, kind: RunKind, now: int = 0, **covers: int) -> RunRef:
    with write_session(engine) as session:
        return request_run(session, TENANT, LOOP_ID, kind, covers, now).ref


def add_experiences(engine: Engine, count: int, seed: int = 0, error: float | None = None) -> None:
    """Uniform decisions, each rewarded with 1 if its action points where its embedding does.

    With an error each had expected rewards that were off by about so much; without, a version decided none of them.
    """
    generator = np.random.default_rng(seed)
    with write_session(engine) as session:
        row = session.get_one(LoopRow, (TENANT, LOOP_ID))
        first = row.last_sequence + 1
        for sequence in range(first, first + count):
            place = generator.normal(size=DIMENSION).astype(np.float32)
            action = ACTIONS[int(generator.integers(len(ACTIONS)))]
            decision = _decision(place, action, sequence)
            reward = float(action == ACTIONS[right_action(decision)])
            if error is not None:
                expected = np.full(len(ACTIONS), reward + generator.normal(error, 0.1))
                decision = replace(decision, scores=Scores(expected, 0 * expected, 0 * expected))
            session.add_all(rows_of(decision, sequence, reward))
        session.execute(update(LoopRow).where(LoopRow.loop_id == LOOP_ID).values(last_sequence=first + count - 1))


def _decision(place: Floats, action: str, decided_at: int) -> Decision:
    even = 1 / len(ACTIONS)
    return Decision(
        tenant=TENANT,
        loop_id=LOOP_ID,
        decision_id=str(uuid7()),
        decided_at=decided_at,
        context={"place": place},
        actions=[Action(one) for one in ACTIONS],
        action_id=action,
        probability=even,
        probabilities=np.full(len(ACTIONS), even),
        seed=0,
        settings_revision=1,
        request_sha256=b"",
    )


def read_loop_of(engine: Engine) -> Loop:
    with read_session(engine) as session:
        loop = read_loop(session, TENANT, LOOP_ID)
    assert loop is not None
    return loop


def right_action(decision: Decision) -> int:
    """The position of the action that is rewarded."""
    place = decision.context["place"]
    assert isinstance(place, np.ndarray)
    return int(np.argmax(place[: len(ACTIONS)]))
