"""Whether what is left out of a log depends on what was drawn."""

import numpy as np
import pytest
from sqlalchemy import update

from services.trainer.selecting import depends_on_action, selection_warnings
from shared.db.engine import read_session, write_session
from shared.db.tables import DecisionRow
from shared.evaluation.settings import EvaluationSettings
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace

HOUR = 3_600_000_000
UNIFORM = EvaluationSettings(target="uniform")


def test_alike_rates_seldom_alarm_and_others_do() -> None:
    generator = np.random.default_rng(0)
    kept = generator.binomial(200, 0.7, size=(1000, 3))
    alarms = sum(depends_on_action([(int(one), 200 - int(one)) for one in row]) for row in kept)
    assert alarms <= 5
    assert depends_on_action([(140, 60), (140, 60), (90, 110)])


@pytest.mark.parametrize("counts", [[], [(5, 5)], [(9, 0), (1, 0)], [(0, 0), (5, 5)]])
def test_where_there_is_nothing_to_compare_there_is_no_alarm(counts: list[tuple[int, int]]) -> None:
    assert not depends_on_action(counts)


def test_it_is_told_of_activations_and_of_overrides(workplace: Workplace) -> None:
    loop = bandit.add_loop(workplace.engine, bandit.settings())
    bandit.add_experiences(workplace.engine, 300)

    def told() -> list[str]:
        with read_session(workplace.engine) as session:
            return selection_warnings(session, loop, UNIFORM, HOUR)

    assert told() == []
    of = DecisionRow
    with write_session(workplace.engine) as session:
        session.execute(update(of).values(deferred=True, activated_at=1))
        session.execute(update(of).where(of.action_id == "left").values(activated_at=None))
    assert ["activated" in one for one in told()] == [True]
    with write_session(workplace.engine) as session:
        session.execute(update(of).where(of.action_id == "right").values(served_action_id="left"))
    assert len(told()) == 2
