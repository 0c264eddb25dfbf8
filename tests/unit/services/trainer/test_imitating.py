"""An apprentice learns what the baseline does, and nothing of what came of it."""

import numpy as np
from sqlalchemy import update

from services.trainer.experiences import NextState, PreparedExperience
from services.trainer.imitating import OTHERS, as_learned
from services.trainer.repository import JoinedRow
from shared.db.engine import write_session
from shared.db.tables import DecisionRow, ExperienceRow, LoopRow
from shared.domain import Action
from shared.loop_settings import Loop, LoopSettings
from shared.networks.preprocessing import action_features, embedding_features
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace

MANY = [f"action-{index}" for index in range(50)]


def loop_of(mode: str, **more: object) -> Loop:
    return Loop(bandit.TENANT, bandit.LOOP_ID, bandit.settings(learning_mode=mode, **more), 1, 0)


def served(sequence: int, probability: float = 1.0) -> PreparedExperience:
    features = {"place": embedding_features(np.ones(bandit.DIMENSION, np.float32), bandit.DIMENSION)}
    row = JoinedRow(sequence, sequence, str(sequence), MANY[0], probability, -3.0)
    bags = [action_features(Action(name)) for name in MANY]
    return PreparedExperience(row, features, bags[0], state=NextState(features, MANY, bags))


def test_what_was_served_for_certain_is_right_and_others_are_not() -> None:
    loop = loop_of("apprentice", reward={"range": [-5, 5]})
    learned = [as_learned(loop, [served(sequence)]) for sequence in range(100)]
    assert all(len(rows) == 1 + OTHERS for rows in learned)
    assert {(rows[0].row.action_id, rows[0].row.reward) for rows in learned} == {(MANY[0], 5.0)}
    others = [one for rows in learned for one in rows[1:]]
    assert {one.row.reward for one in others} == {-5.0}
    assert {one.row.action_id for one in others} == set(MANY[1:]), "all get their turn"
    assert all(one.action is one.state.actions[MANY.index(one.row.action_id)] for one in others if one.state)


def test_what_exploration_drew_and_what_is_online_are_left_as_they_are() -> None:
    explored, certain = served(1, 0.5), served(2)
    assert as_learned(loop_of("apprentice"), [explored]) == [explored]
    assert as_learned(loop_of("online"), [explored, certain]) == [explored, certain]


def set_mode(workplace: Workplace, settings: LoopSettings) -> None:
    with write_session(workplace.engine) as session:
        session.execute(update(LoopRow).values(settings=settings.model_dump(mode="json")))


def test_a_fine_tune_imitates_and_the_first_one_online_expects_rewards(workplace: Workplace) -> None:
    """The baseline takes the right action, and never earns anything by it."""
    apprentice = bandit.settings(learning_mode="apprentice", learning={"max_steps": 200})
    bandit.add_loop(workplace.engine, apprentice)
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    bandit.add_experiences(workplace.engine, 500)
    with write_session(workplace.engine) as session:
        right = {row.decision_id for row in session.query(ExperienceRow) if row.reward == 1.0}
        for table in (ExperienceRow, DecisionRow):
            wrong = table.decision_id.not_in(right)
            session.query(table).filter(wrong).delete()
        session.execute(update(ExperienceRow).values(probability=1.0, reward=0.0))
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.status == "succeeded", run.detail
    version = workplace.champion()
    assert float(version.metrics["agreement"] or 0) > 0.85
    set_mode(workplace, replace_mode(apprentice))
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.status == "succeeded", run.detail
    _, statistics = workplace.policy(workplace.champion())
    assert float(statistics.moment.abs().max()) == 0.0, "no reward has ever come"


def replace_mode(settings: LoopSettings) -> LoopSettings:
    return settings.model_copy(update={"learning_mode": "online"})
