from datetime import timedelta

import pytest

from services.trainer.drifting import DriftWatch
from services.trainer.repository import LearningRecord
from services.trainer.scheduling import is_due, schedule
from shared.db.engine import write_session
from shared.db.tables import LoopRow
from shared.domain import RunRef
from shared.loop_settings import LearningSettings, Loop
from shared.registry.training_runs import LONGEST_QUEUED
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace

MINUTE = 60_000_000
LEARNING = LearningSettings(interval=timedelta(minutes=5), min_experiences=200)


@pytest.mark.parametrize(
    ("record", "due"),
    [
        (LearningRecord(200, 0, None, under_way=False), True),
        (LearningRecord(199, 0, None, under_way=False), False),
        (LearningRecord(399, 200, 0, under_way=False), False),
        (LearningRecord(400, 200, 0, under_way=False), True),
        (LearningRecord(400, 200, 5 * MINUTE, under_way=False), True),
        (LearningRecord(400, 200, 5 * MINUTE + 1, under_way=False), False),
        (LearningRecord(400, 200, 0, under_way=True), False),
    ],
)
def test_due_takes_enough_that_is_new_and_the_interval(record: LearningRecord, due: bool) -> None:
    assert is_due(record, LEARNING, now=10 * MINUTE) is due


def tick(workplace: Workplace, now: int) -> list[RunRef]:
    with write_session(workplace.engine) as session:
        return schedule(session, now, DriftWatch())


def test_a_loop_is_fine_tuned_once_it_is_due_and_not_again_until_more_is_new(workplace: Workplace) -> None:
    bandit.add_loop(workplace.engine, bandit.settings(learning={"max_steps": 20, "min_experiences": 100}))
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    bandit.add_experiences(workplace.engine, 99)
    assert tick(workplace, 10 * MINUTE) == []
    bandit.add_experiences(workplace.engine, 1)
    assert tick(workplace, 4 * MINUTE) == [], "too soon after version 1"
    (ref,) = tick(workplace, 10 * MINUTE)
    assert tick(workplace, 10 * MINUTE) == []
    assert workplace.do(ref).version == 2
    assert tick(workplace, 20 * MINUTE) == []
    bandit.add_experiences(workplace.engine, 100)
    assert len(tick(workplace, 20 * MINUTE)) == 1


def test_a_run_whose_hint_was_lost_gets_another(workplace: Workplace) -> None:
    bandit.add_loop(workplace.engine, bandit.settings())
    ref = bandit.add_run(workplace.engine, "initialise", now=MINUTE)
    assert tick(workplace, MINUTE) == []
    assert tick(workplace, MINUTE + LONGEST_QUEUED) == [ref]


def test_a_loop_that_only_logs_is_not_fine_tuned_by_itself(workplace: Workplace) -> None:
    logging = bandit.settings(learning={"min_experiences": 100}, learning_mode="logging_only")
    bandit.add_loop(workplace.engine, logging)
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    bandit.add_experiences(workplace.engine, 200)
    assert tick(workplace, 100 * MINUTE) == []


def test_a_frozen_loop_is_not_fine_tuned_by_itself(workplace: Workplace) -> None:
    loop = bandit.add_loop(workplace.engine, bandit.settings(learning={"min_experiences": 100}))
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    bandit.add_experiences(workplace.engine, 200)
    set_frozen(workplace, loop, "champion")
    assert tick(workplace, 100 * MINUTE) == []
    set_frozen(workplace, loop, None)
    assert len(tick(workplace, 100 * MINUTE)) == 1


def set_frozen(workplace: Workplace, loop: Loop, frozen_to: str | None) -> None:
    with write_session(workplace.engine) as session:
        session.get_one(LoopRow, (loop.tenant, loop.loop_id)).frozen_to = frozen_to
