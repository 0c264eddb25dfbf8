"""Engines, sessions and the schema: SQLite in WAL with every commit fsynced, or PostgreSQL."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Seconds: a server that does not answer is given up on, and so is the wait for one of the pool's connections.
CONNECT_SECONDS: Final = 5
# A process that was frozen in mid-transaction gives its locks up after so many milliseconds: its heir waits for them.
SESSION_OPTIONS: Final = "-c idle_in_transaction_session_timeout=10000"
# Of the lock by which processes that start together migrate one after the other; any number will do.
MIGRATION_LOCK: Final = 7_367_914_502


class UnusableDatabaseError(RuntimeError):
    """The text says which database, what was seen and what to do."""


def open_engine(url: str) -> Engine:
    """An engine whose commits are durable when they return; the folder of a SQLite file is made."""
    # Errors are logged: what was written must not stand in them.
    if url.startswith("sqlite"):
        engine = create_engine(url, hide_parameters=True)
    else:
        connect_args = {"connect_timeout": CONNECT_SECONDS, "options": SESSION_OPTIONS}
        engine = create_engine(
            url, pool_pre_ping=True, pool_timeout=CONNECT_SECONDS, connect_args=connect_args, hide_parameters=True
        )
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def read_session(engine: Engine) -> Iterator[Session]:
    """A session that sees one consistent state and waits for no writer."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(engine) as session, session.begin():
        yield session


@contextmanager
def write_session(engine: Engine) -> Iterator[Session]:
    """A session that commits once, at its end.

    On SQLite it is the only writer from its beginning on. On PostgreSQL others write meanwhile, and each statement sees
    what is committed by then: what must not change under it is locked, as in shared/db/loops.py.
    """
    with Session(engine.execution_options(rewardloop_writes=True)) as session, session.begin():
        yield session


def upgrade(engine: Engine) -> None:
    """Brings the schema to the newest revision; does nothing where it is there."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(rewardloop_writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def open_upgraded(url: str) -> Engine:
    """An engine on a database with the newest schema.

    Raises:
        UnusableDatabaseError: the URL is none, or the database does not answer, or is not one that this release knows.
    """
    try:
        engine = open_engine(url)
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            upgrade(engine)
            undo.pop_all()
    except (ArgumentError, ModuleNotFoundError) as error:
        advice = (
            "set REWARDLOOP_DATABASE_URL as in postgresql+psycopg://user:password@host/name, with psycopg installed"
        )
        raise UnusableDatabaseError(f"the database's URL is of no use ({_first_line(error)}): {advice}") from error
    except OperationalError as error:
        advice = "start it, or set REWARDLOOP_DATABASE_URL"
        raise UnusableDatabaseError(f"{_shown(url)} does not answer ({_first_line(error.orig)}): {advice}") from error
    except CommandError as error:
        advice = "run the release that wrote it, or a newer one"
        raise UnusableDatabaseError(f"{_shown(url)} has an unknown schema ({_first_line(error)}): {advice}") from error
    return engine


def _shown(url: str) -> str:
    return "the database " + make_url(url).render_as_string(hide_password=True)


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]


def _set_pragmas(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # Transactions are begun by the listener below: the driver must not begin its own.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout=15000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("rewardloop_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
