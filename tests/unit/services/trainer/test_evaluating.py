"""Evaluations in the trainer, on a small bandit whose truth is known: chosen evenly, a third of it is right."""

import numpy as np
import pytest
from sqlalchemy import update

from services.trainer.evaluating import Evaluator
from services.trainer.experiences import Replay
from shared.db.engine import read_session, write_session
from shared.db.tables import ConsumerOffsetRow, ExperienceRow
from shared.domain import Evaluation, EvaluationRef
from shared.evaluation.settings import EvaluationSettings
from shared.networks.media_decoder import decode_all
from shared.registry.evaluations import (
    evaluations_to_enqueue,
    read_evaluation,
    request_evaluation,
    take_evaluation,
)
from shared.registry.training_runs import LONGEST_QUEUED
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace

ROWS = 600
HOUR = 3_600_000_000


def ask(workplace: Workplace, target: object, **settings: object) -> EvaluationRef:
    body = EvaluationSettings.model_validate({"target": target} | settings).model_dump(mode="json")
    with write_session(workplace.engine) as session:
        return request_evaluation(session, bandit.TENANT, bandit.LOOP_ID, body, {}, HOUR).ref


def do(workplace: Workplace, ref: EvaluationRef) -> Evaluation:
    replay = Replay(workplace.engine, decode_all, workplace.artifacts.get)
    clock = workplace.clock
    Evaluator(workplace.engine, workplace.artifacts, replay, workplace.settings, clock, clock.sleep).run(ref)
    return read(workplace, ref)


def read(workplace: Workplace, ref: EvaluationRef) -> Evaluation:
    with read_session(workplace.engine) as session:
        found = read_evaluation(session, ref)
    assert found is not None
    return found


def figures(evaluation: Evaluation) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Its estimates, and the rest."""
    assert evaluation.status == "succeeded", evaluation.detail
    result = evaluation.result
    assert result is not None
    return result["estimates"], result  # type: ignore[return-value] # it is JSON


@pytest.fixture
def logged(workplace: Workplace) -> Workplace:
    bandit.add_loop(workplace.engine, bandit.settings())
    bandit.add_experiences(workplace.engine, ROWS)
    return workplace


def rewards_of(workplace: Workplace) -> dict[str, list[float]]:
    with read_session(workplace.engine) as session:
        rows = session.query(ExperienceRow.action_id, ExperienceRow.reward).all()
    return {action: [reward for taken, reward in rows if taken == action] for action in bandit.ACTIONS}


def test_a_constant_is_worth_what_its_rows_earned(logged: Workplace) -> None:
    estimates, result = figures(do(logged, ask(logged, {"constant": "left"})))
    earned = rewards_of(logged)["left"]
    assert estimates["snips"]["value"] == pytest.approx(np.mean(earned))
    assert estimates["replay"]["value"] == pytest.approx(np.mean(earned))
    assert estimates["ips"]["value"] == pytest.approx(3 * np.sum(earned) / ROWS)
    assert result["effective_sample_size"] == pytest.approx(len(earned))
    assert (result["rows"], result["verdict"], result["max_weight"]) == (ROWS, "enough", pytest.approx(3.0))


def test_what_was_logged_is_worth_what_it_earned(logged: Workplace) -> None:
    mean = np.mean(np.concatenate(list(rewards_of(logged).values())))
    estimates, result = figures(do(logged, ask(logged, "uniform")))
    assert estimates["ips"]["value"] == estimates["snips"]["value"] == pytest.approx(mean)
    even = {"table": {"probabilities": dict.fromkeys(bandit.ACTIONS, 1 / 3)}}
    assert figures(do(logged, ask(logged, even)))[0]["dr"]["value"] == pytest.approx(estimates["dr"]["value"])
    assert result["effective_sample_size"] == pytest.approx(ROWS)


def test_a_version_is_judged_on_what_it_has_not_learned(logged: Workplace) -> None:
    do_run = logged.do(bandit.add_run(logged.engine, "initialise"))
    assert do_run.version == 1
    assert logged.do(bandit.add_run(logged.engine, "fine_tune")).version == 2
    learned = do(logged, ask(logged, {"model_version": "2"}))
    assert learned.status == "failed"
    assert "has learned from every experience" in (learned.detail or "")
    bandit.add_experiences(logged.engine, 300, seed=1)
    estimates, result = figures(do(logged, ask(logged, {"model_version": "2"})))
    assert result["rows"] == 300
    # It has learned where embeddings point to: a third of that is chance's.
    assert estimates["dr"]["value"] > 0.5
    low, high = estimates["dr"]["normal"]  # type: ignore[misc] # a pair
    assert low < estimates["snips"]["value"] < high


def test_rows_without_a_propensity_and_immature_ones_have_no_part(logged: Workplace) -> None:
    with write_session(logged.engine) as session:
        of = ExperienceRow
        session.execute(update(of).where(of.sequence <= 100).values(probability=None))
    wait = int(bandit.settings().reward_wait_time.total_seconds() * 1e6)
    with write_session(logged.engine) as session:
        session.execute(update(of).where(of.sequence > 500).values(decided_at=HOUR - wait + 1))
    _, result = figures(do(logged, ask(logged, "uniform")))
    assert (result["rows"], result["without_propensity"], result["immature"]) == (400, 100, 100)
    with write_session(logged.engine) as session:
        session.execute(update(of).values(probability=None))
    nothing = do(logged, ask(logged, "uniform"))
    assert (nothing.status, nothing.result) == ("failed", None)
    assert nothing.detail == (
        "no experience to evaluate on: of those in the window 500 have no propensity between 0 and 1, "
        "and 100 are not matured"
    )


def test_a_window_and_too_few_rows(logged: Workplace) -> None:
    _, result = figures(do(logged, ask(logged, "uniform", since=101, until=151)))
    assert (result["rows"], result["verdict"]) == (50, "too_little")
    assert "Too little" in str(result["warnings"])


def test_a_candidate_nobody_could_have_drawn_is_unsupported(logged: Workplace) -> None:
    _, result = figures(do(logged, ask(logged, {"constant": "elsewhere"})))
    assert (result["rows"], result["unsupported_share"], result["verdict"]) == (0, 1.0, "unsupported")


def test_a_table_that_says_nothing_of_a_context_fails_and_says_of_which(logged: Workplace) -> None:
    table = {"context_key": "place", "by_key": {"1": dict.fromkeys(bandit.ACTIONS, 1 / 3)}}
    failed = do(logged, ask(logged, {"table": table}))
    assert failed.status == "failed"
    assert "the table has no row for" in (failed.detail or "")


def test_a_lease_that_lasts_is_kept_and_one_that_is_over_taken(logged: Workplace) -> None:
    ref, now = ask(logged, "uniform"), logged.clock()
    with write_session(logged.engine) as session:
        take_evaluation(session, ref, "another", now, HOUR)
    assert do(logged, ref).status == "running"
    with read_session(logged.engine) as session:
        assert evaluations_to_enqueue(session, now) == []
        assert evaluations_to_enqueue(session, now + HOUR) == [ref]
    logged.clock.now += 2 * HOUR
    assert do(logged, ref).status == "succeeded"
    assert do(logged, ref).status == "succeeded"


def test_what_waits_too_long_is_hinted_at_again(logged: Workplace) -> None:
    ref = ask(logged, "uniform")
    with read_session(logged.engine) as session:
        assert evaluations_to_enqueue(session, HOUR + LONGEST_QUEUED - 1) == []
        assert evaluations_to_enqueue(session, HOUR + LONGEST_QUEUED) == [ref]


def test_it_waits_for_the_joiner_and_gives_up(logged: Workplace) -> None:
    body = EvaluationSettings(target="uniform").model_dump(mode="json")
    with write_session(logged.engine) as session:
        covers = {"rewardloop.decisions/0": 5}
        ref = request_evaluation(session, bandit.TENANT, bandit.LOOP_ID, body, covers, HOUR).ref
        again = request_evaluation(session, bandit.TENANT, bandit.LOOP_ID, body, covers, HOUR).ref
    failed = do(logged, ref)
    assert (failed.status, failed.detail) == ("failed", "the joiner is more than 30 s behind")
    with write_session(logged.engine) as session:
        session.add(ConsumerOffsetRow(consumer="joiner", topic="rewardloop.decisions", partition=0, offset=5, epoch=1))
    assert do(logged, again).status == "succeeded"
