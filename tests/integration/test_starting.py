"""Processes that cannot start end with lines that say why: which setting, what was seen, what to do; no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.db.upgrading import open_upgraded

PROGRAMS = {
    "gateway": ["services.gateway"],
    "feedback": ["services.feedback"],
    "worker": ["services.trainer", "worker"],
    "init": ["services", "init"],
    "up": ["services", "up"],
}


def ended(program: str, home: Path, **settings: str) -> str:
    """What it says on stderr at its end, which is a failure."""
    environment = os.environ | {"REWARDLOOP_HOME": str(home)} | settings
    command = [sys.executable, "-m", *PROGRAMS[program]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_database_of_a_newer_release(program: str, tmp_path: Path) -> None:
    engine = open_upgraded(f"sqlite:///{tmp_path / 'rewardloop.db'}")
    with engine.execution_options(rewardloop_writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    said = ended(program, tmp_path)
    assert "the database sqlite://" in said
    assert "9999" in said
    assert "run the release that wrote it, or a newer one" in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_setting_that_makes_no_sense(program: str, tmp_path: Path) -> None:
    said = ended(program, tmp_path, REWARDLOOP_KAFKA_SERVERS="host:notaport")
    assert said.startswith("REWARDLOOP_KAFKA_SERVERS: ")


def test_a_broker_that_does_not_answer_ends_init(tmp_path: Path) -> None:
    said = ended("init", tmp_path, REWARDLOOP_KAFKA_SERVERS="127.0.0.1:1", REWARDLOOP_KAFKA_TIMEOUT="0.5")
    assert "Kafka at 127.0.0.1:1 does not make topics" in said
    assert "REWARDLOOP_KAFKA_SERVERS" in said
