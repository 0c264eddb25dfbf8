"""The trainer's own processes on a folder of their own: Celery's worker and beat, SQLite, the filesystem broker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from services.trainer.gate import NEGLIGIBLE_LOSS
from shared.db.engine import open_engine, read_session, write_session
from shared.db.tables import LoopRow
from shared.db.upgrading import upgrade
from shared.domain import ModelVersion, RunRef, TrainingRun
from shared.registry.training_runs import read_run, read_runs
from shared.registry.versions import read_champion, read_versions
from shared.settings import PlatformSettings
from shared.tasks import celery_app, enqueue_run
from tests.unit.services.trainer import bandit

PATIENCE_SECONDS = 120.0
STOP_SECONDS = 5.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(PlatformSettings(home=tmp_path).database)
    upgrade(engine)
    yield engine
    engine.dispose()


@contextmanager
def process(home: Path, program: str, **variables: str) -> Iterator[psutil.Popen]:
    """A process of the trainer in a group of its own, which is killed in the end if it is left."""
    environment = os.environ | {"REWARDLOOP_HOME": str(home), "REWARDLOOP_LEASE_SECONDS": "2", "OMP_NUM_THREADS": "1"}
    environment |= variables
    command = [sys.executable, "-m", "services.trainer", program]
    started = psutil.Popen(command, env=environment, start_new_session=True)
    try:
        yield started
    finally:
        kill(started)


def kill(started: psutil.Popen) -> None:
    for child in [*family(started), started]:
        if child.is_running():
            child.kill()
    started.wait()


def family(started: psutil.Popen) -> list[psutil.Process]:
    return list(started.children(recursive=True)) if started.is_running() else []


def until(condition: Callable[[], bool], *alive: psutil.Popen, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for a condition while processes live."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert all(one.poll() is None for one in alive), "a process ended"
        time.sleep(0.05)


def champion(engine: Engine) -> ModelVersion | None:
    with read_session(engine) as session:
        return read_champion(session, bandit.TENANT, bandit.LOOP_ID)


def champion_number(engine: Engine) -> int:
    version = champion(engine)
    return 0 if version is None else version.version


def read(engine: Engine, ref: RunRef) -> TrainingRun:
    with read_session(engine) as session:
        run = read_run(session, ref)
    assert run is not None
    return run


def newest(engine: Engine) -> TrainingRun:
    with read_session(engine) as session:
        return read_runs(session, bandit.TENANT, bandit.LOOP_ID, limit=1)[0]


def change_learning(engine: Engine, **learning: object) -> None:
    with write_session(engine) as session:
        row = session.get_one(LoopRow, (bandit.TENANT, bandit.LOOP_ID))
        row.settings = bandit.settings(learning=learning).model_dump(mode="json")


def test_version_1_appears_a_better_one_takes_over_and_both_processes_stop(engine: Engine, tmp_path: Path) -> None:
    learning = {"interval": "PT1S", "min_experiences": 200, "max_steps": 10_000}
    bandit.add_loop(engine, bandit.settings(learning=learning))
    # Nobody sends a hint: beat finds the row.
    bandit.add_run(engine, "initialise")
    with process(tmp_path, "worker") as worker, process(tmp_path, "beat") as beat:
        until(lambda: champion_number(engine) == 1, worker, beat)
        bandit.add_experiences(engine, 400)
        until(lambda: champion_number(engine) == 2, worker, beat)
        version = champion(engine)
        assert version is not None
        assert version.covers_sequence == 400
        assert float(version.metrics["loss"] or 0) <= float(version.metrics["champion_loss"] or 0) + NEGLIGIBLE_LOSS
        assert not any("libtorch" in one.path for process in (worker, beat) for one in process.memory_maps())
        bandit.add_experiences(engine, 4000)
        until(lambda: newest(engine).status == "running" and newest(engine).steps > 0, worker, beat)
        left = family(worker)
        assert left
        for stopped in (worker, beat):
            stopped.send_signal(signal.SIGTERM)
        for stopped in (worker, beat):
            assert stopped.wait(STOP_SECONDS) == 0
        until(lambda: not any(child.is_running() for child in left), seconds=STOP_SECONDS)


def test_a_run_whose_worker_is_killed_is_done_by_the_next_and_makes_one_version(engine: Engine, tmp_path: Path) -> None:
    bandit.add_loop(engine, bandit.settings(learning={"max_steps": 10_000}))
    first = bandit.add_run(engine, "initialise")
    app = celery_app(PlatformSettings(home=tmp_path))
    with process(tmp_path, "beat"):
        with process(tmp_path, "worker") as worker:
            enqueue_run(app, first)
            until(lambda: champion_number(engine) == 1, worker)
            bandit.add_experiences(engine, 4000)
            ref = bandit.add_run(engine, "fine_tune")
            enqueue_run(app, ref)
            until(lambda: read(engine, ref).steps > 0, worker)
            kill(worker)
        assert read(engine, ref).status == "running"
        change_learning(engine, max_steps=100)
        with process(tmp_path, "worker") as worker:
            until(lambda: read(engine, ref).version == 2, worker)
    with read_session(engine) as session:
        versions = read_versions(session, bandit.TENANT, bandit.LOOP_ID)
    assert [version.training_run_id for version in versions] == [ref.training_run_id, first.training_run_id]
    app.close()


def test_a_worker_ends_with_its_supervisor(engine: Engine, tmp_path: Path) -> None:
    bandit.add_loop(engine, bandit.settings())
    bandit.add_run(engine, "initialise")
    read_end, write_end = os.pipe()
    environment = os.environ | {"REWARDLOOP_HOME": str(tmp_path), "REWARDLOOP_LIFELINE_FD": str(read_end)}
    command = [sys.executable, "-m", "services.trainer", "worker"]
    worker = psutil.Popen(command, env=environment, pass_fds=[read_end], stderr=subprocess.DEVNULL)
    os.close(read_end)
    until(lambda: bool(family(worker)))
    left = family(worker)
    os.close(write_end)
    worker.wait(STOP_SECONDS)
    until(lambda: not any(child.is_running() for child in left))
