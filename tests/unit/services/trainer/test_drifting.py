"""Served expectations hold for a while; then the world changes, and a fine-tune starts for that reason alone."""

import numpy as np
import pytest

from services.trainer.drifting import DriftWatch, change_sequence, changed_at
from services.trainer.scheduling import schedule
from shared.db.engine import read_session, write_session
from shared.domain import Doubles, RunReason
from shared.registry.training_runs import read_last_drift, read_runs
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace

MINUTE = 60_000_000
PATIENT = {"min_experiences": 1_000_000, "interval": "P1D", "max_steps": 20}


def ticks(workplace: Workplace, watch: DriftWatch, count: int = 5) -> list[RunReason | None]:
    """Reasons of the runs that so many ticks ask for."""
    refs = []
    for tick in range(count):
        with write_session(workplace.engine) as session:
            refs += schedule(session, (10 + tick) * MINUTE, watch)
    return [workplace.read(ref).reason for ref in dict.fromkeys(refs)]


def start(workplace: Workplace, *, on_drift: bool = True) -> None:
    bandit.add_loop(workplace.engine, bandit.settings(learning=PATIENT | {"on_drift": on_drift}))
    workplace.do(bandit.add_run(workplace.engine, "initialise"))


def test_errors_that_rise_start_a_fine_tune_and_it_says_why(workplace: Workplace) -> None:
    start(workplace)
    watch = DriftWatch()
    bandit.add_experiences(workplace.engine, 600, seed=1, error=0.2)
    assert ticks(workplace, watch) == []
    bandit.add_experiences(workplace.engine, 200, seed=2, error=0.8)
    assert ticks(workplace, watch) == ["drift"]
    with read_session(workplace.engine) as session:
        (run, _) = read_runs(session, bandit.TENANT, bandit.LOOP_ID, limit=5)
        assert read_last_drift(session, bandit.TENANT, bandit.LOOP_ID) == run.requested_at
    assert workplace.do(run.ref).version == 2
    # The new version's errors are its own: what is high now may have been high from its first decision on.
    bandit.add_experiences(workplace.engine, 300, seed=3, error=0.8)
    assert ticks(workplace, watch) == []


@pytest.mark.parametrize(("on_drift", "later"), [(True, 0.2), (True, 0.0), (False, 0.8)])
def test_without_a_rise_or_where_nobody_asked_nothing_starts(
    workplace: Workplace, on_drift: bool, later: float
) -> None:
    start(workplace, on_drift=on_drift)
    watch = DriftWatch()
    bandit.add_experiences(workplace.engine, 600, seed=1, error=0.3)
    bandit.add_experiences(workplace.engine, 600, seed=2, error=later)
    assert ticks(workplace, watch) == []


def test_decisions_that_no_version_made_say_nothing(workplace: Workplace) -> None:
    start(workplace)
    bandit.add_experiences(workplace.engine, 300)
    assert ticks(workplace, DriftWatch()) == []


def shortfalls(generator: np.random.Generator, count: int) -> Doubles:
    """Of a learner whose choices are right more and more often, and who knows how often."""
    expected_N = 0.1 + 0.8 * (1 - np.exp(-np.arange(count) / 300))
    return expected_N - (generator.random(count) < expected_N)


def test_learning_is_no_change() -> None:
    assert [changed_at(shortfalls(np.random.default_rng(seed), 1500)) for seed in range(10)] == [0] * 10


@pytest.mark.parametrize("seen", [100, 400, 899])
def test_a_change_is_found_where_it_began_however_much_is_learned_since(seen: int) -> None:
    generator = np.random.default_rng(0)
    fails_N = generator.random(899) < 0.8 * np.exp(-np.arange(899) / 300)
    both = np.concatenate([shortfalls(generator, 900), np.where(fails_N, 0.9, -0.1)])
    assert abs(changed_at(both[: 900 + seen]) - 900) <= 20


def test_a_fine_tune_learns_what_came_after_a_change(workplace: Workplace) -> None:
    loop = bandit.add_loop(workplace.engine, bandit.settings(learning={"max_steps": 20, "since_drift": True}))
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    bandit.add_experiences(workplace.engine, 300, seed=1, error=0.1)
    with read_session(workplace.engine) as session:
        assert change_sequence(session, loop, 1) is None
    bandit.add_experiences(workplace.engine, 100, seed=2, error=0.9)
    with read_session(workplace.engine) as session:
        assert change_sequence(session, loop, 1) == 301
    assert workplace.do(bandit.add_run(workplace.engine, "fine_tune")).version == 2
    assert workplace.champion().covers_sequence == 400
    assert workplace.versions()[0].metrics["first_sequence"] == 301
