import pytest
from sqlalchemy import Engine

from shared.db.engine import read_session, write_session
from shared.domain import RunRef, TrainingRun
from shared.registry import training_runs
from shared.registry.training_runs import LeaseLostError

SECOND = 1_000_000
LEASE = 30 * SECOND


def request(engine: Engine, loop_id: str = "news", now: int = SECOND, **covers: int) -> TrainingRun:
    with write_session(engine) as session:
        return training_runs.request_run(session, "acme", loop_id, "fine_tune", covers, now)


def take(engine: Engine, ref: RunRef, owner: str, now: int) -> TrainingRun | None:
    with write_session(engine) as session:
        return training_runs.take_lease(session, ref, owner, now, LEASE)


def finish(engine: Engine, ref: RunRef, owner: str, now: int = 3 * SECOND) -> None:
    with write_session(engine) as session:
        training_runs.finish_run(session, ref, owner, now, "succeeded", version=2)


def read(engine: Engine, ref: RunRef) -> TrainingRun | None:
    with read_session(engine) as session:
        return training_runs.read_run(session, ref)


def to_enqueue(engine: Engine, now: int) -> list[str]:
    with read_session(engine) as session:
        return [run.training_run_id for run in training_runs.runs_to_enqueue(session, now)]


def test_a_queued_run_is_reused_and_its_covers_only_rise(engine: Engine) -> None:
    first = request(engine, decisions=10, feedback=7)
    second = request(engine, now=2 * SECOND, decisions=8, feedback=9)
    assert second.training_run_id == first.training_run_id
    assert second.covers == {"decisions": 10, "feedback": 9}


def test_a_run_that_has_started_is_not_reused(engine: Engine) -> None:
    first = request(engine, decisions=10)
    take(engine, first.ref, "one", SECOND)
    second = request(engine, decisions=20)
    assert second.training_run_id != first.training_run_id
    assert read(engine, first.ref).covers == {"decisions": 10}  # type: ignore[union-attr] # it was just made


def test_a_run_taken_twice_runs_once(engine: Engine) -> None:
    ref = request(engine).ref
    taken = take(engine, ref, "one", SECOND)
    assert taken is not None
    assert (taken.status, taken.started_at) == ("running", SECOND)
    assert take(engine, ref, "two", 2 * SECOND) is None
    finish(engine, ref, "one")
    assert take(engine, ref, "two", 1000 * SECOND) is None


def test_two_runs_of_a_loop_do_not_overlap(engine: Engine) -> None:
    first = request(engine).ref
    take(engine, first, "one", SECOND)
    second, elsewhere = request(engine).ref, request(engine, "mail").ref
    assert take(engine, second, "two", 2 * SECOND) is None
    assert take(engine, elsewhere, "two", 2 * SECOND) is not None
    finish(engine, first, "one")
    assert take(engine, second, "two", 3 * SECOND) is not None


def test_an_expired_lease_is_taken_over_and_shuts_its_old_owner_out(engine: Engine) -> None:
    ref = request(engine).ref
    take(engine, ref, "one", SECOND)
    assert take(engine, ref, "two", SECOND + LEASE - 1) is None
    assert take(engine, ref, "two", SECOND + LEASE) is not None
    with pytest.raises(LeaseLostError), write_session(engine) as session:
        training_runs.report_progress(session, ref, "one", 40 * SECOND, LEASE, 0.5, 0.1, 50)
    with pytest.raises(LeaseLostError):
        finish(engine, ref, "one")
    assert read(engine, ref).status == "running"  # type: ignore[union-attr] # it was just made


def test_progress_is_kept_and_extends_the_lease(engine: Engine) -> None:
    ref = request(engine).ref
    take(engine, ref, "one", SECOND)
    with write_session(engine) as session:
        training_runs.report_progress(session, ref, "one", 20 * SECOND, LEASE, 0.5, 0.25, 300)
    run = read(engine, ref)
    assert run is not None
    assert (run.progress, run.loss, run.steps) == (0.5, 0.25, 300)
    assert take(engine, ref, "two", SECOND + LEASE) is None


def test_what_lost_its_message_or_its_worker_is_enqueued_again(engine: Engine) -> None:
    waiting, running = request(engine, "news", 0).ref, request(engine, "mail", 0).ref
    take(engine, running, "one", SECOND)
    assert to_enqueue(engine, training_runs.LONGEST_QUEUED - 1) == []
    assert to_enqueue(engine, training_runs.LONGEST_QUEUED) == [waiting.training_run_id]
    assert to_enqueue(engine, SECOND + LEASE) == [waiting.training_run_id, running.training_run_id]
    take(engine, waiting, "one", SECOND)
    finish(engine, waiting, "one")
    finish(engine, running, "one")
    assert to_enqueue(engine, 1000 * SECOND) == []


def test_pages_run_from_the_newest_to_the_oldest(engine: Engine) -> None:
    ids = []
    for _ in range(5):
        ref = request(engine).ref
        ids.append(ref.training_run_id)
        take(engine, ref, "one", SECOND)
        finish(engine, ref, "one")
    with read_session(engine) as session:
        first = training_runs.read_runs(session, "acme", "news", 3)
        rest = training_runs.read_runs(session, "acme", "news", 3, before=first[-1].training_run_id)
    assert [run.training_run_id for run in [*first, *rest]] == ids[::-1]
    assert first[0].version == 2
