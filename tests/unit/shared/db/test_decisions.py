"""Reading decisions and experiences back: one whole, and lists page by page."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from shared import wire
from shared.db.decisions import StoredFeedback, list_decisions, list_experiences, read_decision
from shared.db.engine import read_session, write_session
from shared.db.tables import DecisionRow, ExperienceRow, FeedbackRow
from shared.domain import Action, Decision, Experience, Feedback

LOOP = ("acme", "news")
DECISION = Decision(
    tenant=LOOP[0],
    loop_id=LOOP[1],
    decision_id="d",
    decided_at=100,
    context={"title": "Red shoe"},
    actions=[Action("a"), Action("b")],
    action_id="b",
    probability=0.75,
    probabilities=np.array([0.25, 0.75]),
    seed=7,
    settings_revision=1,
    request_sha256=hashlib.sha256(b"d").digest(),
)


def store(engine: Engine, decision: Decision, reward: float | None = None, sequence: int = 0) -> None:
    own = {"tenant": decision.tenant, "loop_id": decision.loop_id, "decision_id": decision.decision_id}
    shared = {
        "decided_at": decision.decided_at,
        "action_id": decision.action_id,
        "probability": decision.probability,
        "model_version": decision.model_version,
    }
    payload = wire.decision_to_pb(decision).SerializeToString()
    with write_session(engine) as session:
        row = DecisionRow(**own, **shared, deferred=False, request_sha256=decision.request_sha256, payload=payload)
        row.closes_at = 900 if reward is None else None
        session.add(row)
        if reward is not None:
            joined = {"sequence": sequence, "reward": reward, "closed_at": 500, "closed_by": "timeout"}
            session.add(ExperienceRow(**own, **shared, **joined))


@pytest.fixture
def five(engine: Engine) -> Engine:
    """d-0 to d-4: made at 0, 0, 20, 20, 40 by versions none, 1, none, 1, none; the first two are joined."""
    for number in range(5):
        made = replace(
            DECISION,
            decision_id=f"d-{number}",
            decided_at=20 * (number // 2),
            action_id="ab"[number % 2],
            model_version=1 if number % 2 else None,
        )
        store(engine, made, reward=float(number) if number < 2 else None, sequence=number + 1)
    return engine


def test_a_decision_comes_with_its_feedback_in_order_of_receipt(engine: Engine) -> None:
    store(engine, DECISION)
    came = [
        Feedback(*LOOP, "f-1", "d", "click", 1.0, 300),
        Feedback(*LOOP, "f-2", "d", "comment", "nice", 200, 150),
        Feedback(*LOOP, "f-3", "other", "click", 1.0, 100),
    ]
    with write_session(engine) as session:
        for one in came:
            number, text = (one.value, None) if isinstance(one.value, float) else (None, one.value)
            names = {name: getattr(one, name) for name in ("tenant", "loop_id", "feedback_id", "decision_id", "metric")}
            times = {"received_at": one.received_at, "occurred_at": one.occurred_at}
            session.add(FeedbackRow(**names, **times, number=number, text=text, late=one.received_at > 250))
    with read_session(engine) as session:
        stored = read_decision(session, *LOOP, "d")
    assert stored is not None
    assert wire.decision_to_pb(stored.decision) == wire.decision_to_pb(DECISION)
    assert stored.feedback == [StoredFeedback(came[1], late=False), StoredFeedback(came[0], late=True)]
    assert (stored.closes_at, stored.experience) == (900, None)


def test_a_joined_decision_has_its_experience(five: Engine) -> None:
    with read_session(five) as session:
        stored = read_decision(session, *LOOP, "d-1")
    assert stored is not None
    assert stored.experience is not None
    assert stored.experience.experience == Experience(*LOOP, 2, "d-1", 0, "b", 0.75, 1.0, 1)
    assert (stored.experience.closed_at, stored.experience.closed_by) == (500, "timeout")


def test_what_belongs_to_another_loop_or_tenant_is_not_there(five: Engine) -> None:
    with read_session(five) as session:
        for tenant, loop_id in (("other", "news"), ("acme", "other")):
            assert read_decision(session, tenant, loop_id, "d-1") is None
            assert list_decisions(session, tenant, loop_id) == []
            assert list_experiences(session, tenant, loop_id) == []


def test_decisions_are_listed_newest_first_page_by_page(five: Engine) -> None:
    pages = []
    before = None
    with read_session(five) as session:
        while page := list_decisions(session, *LOOP, before=before, limit=2):
            pages.append([one.decision_id for one in page])
            before = page[-1].cursor
    assert pages == [["d-4", "d-3"], ["d-2", "d-1"], ["d-0"]]


def test_a_listed_decision_has_its_reward_once_it_is_joined(five: Engine) -> None:
    with read_session(five) as session:
        rewards = {one.decision_id: one.reward for one in list_decisions(session, *LOOP)}
    assert rewards == {"d-0": 0.0, "d-1": 1.0, "d-2": None, "d-3": None, "d-4": None}


@pytest.mark.parametrize(
    ("filters", "decisions", "experiences"),
    [
        ({"action_id": "b"}, ["d-3", "d-1"], ["d-1"]),
        ({"model_version": 1}, ["d-3", "d-1"], ["d-1"]),
        ({"since": 20}, ["d-4", "d-3", "d-2"], []),
        ({"until": 20}, ["d-1", "d-0"], ["d-1", "d-0"]),
        ({"since": 20, "until": 40, "action_id": "a"}, ["d-2"], []),
        ({"action_id": "c"}, [], []),
    ],
)
def test_lists_are_filtered(
    five: Engine, filters: dict[str, Any], decisions: list[str], experiences: list[str]
) -> None:
    with read_session(five) as session:
        assert [one.decision_id for one in list_decisions(session, *LOOP, **filters)] == decisions
        assert [one.experience.decision_id for one in list_experiences(session, *LOOP, **filters)] == experiences


def test_experiences_are_listed_newest_first_page_by_page(five: Engine) -> None:
    with read_session(five) as session:
        (newest,) = list_experiences(session, *LOOP, limit=1)
        (oldest,) = list_experiences(session, *LOOP, limit=5, before=newest.experience.sequence)
    assert (newest.experience.sequence, oldest.experience.sequence) == (2, 1)
