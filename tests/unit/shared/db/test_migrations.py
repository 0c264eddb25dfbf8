"""Migrations make the tables that the models describe, and take them away again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect

from shared.db.engine import open_engine
from shared.db.tables import Base
from shared.db.upgrading import MIGRATIONS, upgrade


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without tables."""
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'rewardloop.db'}" if is_sqlite else request.getfixturevalue("postgresql_url")
    engine = open_engine(url)
    yield engine
    engine.dispose()


def downgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, Base.metadata))


def test_migrated_tables_are_those_of_the_models(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        assert differences(connection) == []
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_primary_keys_begin_with_the_tenant(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        keys = {
            name: inspect(connection).get_pk_constraint(name)["constrained_columns"] for name in Base.metadata.tables
        }
    # These belong to the log, to those who read it, and to files under their hash, which all tenants share.
    shared_by_tenants = {"consumer_offsets", "dead_letters", "joiner_members", "model_artifacts"}
    assert {name for name, columns in keys.items() if columns[0] != "tenant"} == shared_by_tenants


def test_downgrading_leaves_nothing_and_upgrading_again_makes_the_same(engine: Engine) -> None:
    upgrade(engine)
    downgrade(engine)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    upgrade(engine)
    with engine.connect() as connection:
        assert differences(connection) == []


def test_upgrading_twice_does_nothing(engine: Engine) -> None:
    upgrade(engine)
    upgrade(engine)
    with engine.connect() as connection:
        assert differences(connection) == []


def test_processes_that_start_together_upgrade_one_after_the_other(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, [engine] * 4))
    with engine.connect() as connection:
        assert differences(connection) == []


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'rewardloop.db'}")
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
