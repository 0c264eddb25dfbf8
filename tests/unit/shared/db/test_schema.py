"""What a process does that needs the schema and does not bring it: it waits, or says why that would not help."""

import sqlite3
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from deploy.local.server import free_port
from shared.db.engine import open_engine
from shared.db.schema import (
    MIGRATIONS,
    UnusableDatabaseError,
    await_schema,
    await_schema_or_exit,
    away,
    revisions,
)
from shared.db.upgrading import open_upgraded

SECRET = "s3cret"


def execute(url: str, *statements: str) -> None:
    engine = open_engine(url)
    with engine.execution_options(rewardloop_writes=True).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_the_newest_revision_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert revisions()[-1] == script.get_current_head()
    assert revisions() == sorted(one.revision for one in script.walk_revisions())


def test_who_has_to_wait_says_why_and_goes_on_once_the_schema_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'platform.db'}"
    older = ["CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('0001')"]
    steps = iter([older, ["DROP TABLE alembic_version"]])

    def sleep(_: float) -> None:
        statements = next(steps, None)
        if statements is None:
            open_upgraded(url).dispose()
        else:
            execute(url, *statements)

    await_schema(url, sleep)
    told = capsys.readouterr().out
    assert f"platform.db has no schema, and {revisions()[-1]} is needed: run `rewardloop init`" in told
    assert f"platform.db has the schema 0001, and {revisions()[-1]} is needed" in told


def test_a_server_that_is_away_is_waited_for_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    port, waits = free_port(), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await_schema(f"postgresql+psycopg://u:{SECRET}@127.0.0.1:{port}/d", sleep)
    told = capsys.readouterr().out
    assert told.count("does not answer") == 1
    assert "REWARDLOOP_DATABASE_URL" in told
    assert SECRET not in told


def test_a_schema_of_a_newer_release_ends_the_process_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'platform.db'}"
    open_upgraded(url).dispose()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SystemExit) as ended:
        await_schema_or_exit(url)
    line = str(ended.value)
    assert line.endswith("has the schema 9999, which is not known here: run the release that wrote it, or a newer one")
    assert "\n" not in line


def test_a_url_that_is_none_ends_the_process() -> None:
    with pytest.raises(UnusableDatabaseError, match="REWARDLOOP_DATABASE_URL"):
        await_schema("nonsense")


def test_a_database_without_room_asks_for_room() -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE loops (loop_id TEXT)")
    connection.close()
    told = away("sqlite:///var/rewardloop.db", OperationalError("CREATE", None, full.value))
    assert told.endswith("has no room on its disk (database or disk is full): make room, and start again")
