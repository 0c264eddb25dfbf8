"""Engines and sessions: SQLite in WAL with every commit fsynced, or PostgreSQL."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

# Seconds: a server that does not answer is given up on, and so is the wait for one of the pool's connections.
CONNECT_SECONDS: Final = 5
# A process that was frozen in mid-transaction gives its locks up after so many milliseconds: its heir waits for them.
SESSION_OPTIONS: Final = "-c idle_in_transaction_session_timeout=10000"


def open_engine(url: str, name: str | None = None, lock_seconds: float = 0) -> Engine:
    """An engine whose commits are durable when they return; the folder of a SQLite file is made.

    PostgreSQL knows its sessions by `name`, of up to 63 letters, and has them wait for a lock no longer than
    `lock_seconds`; 0: as long as it takes.
    """
    # Errors are logged: what was written must not stand in them.
    if not url.startswith("sqlite"):
        options = f"{SESSION_OPTIONS} -c lock_timeout={round(lock_seconds * 1000)}"
        connect_args = {"connect_timeout": CONNECT_SECONDS, "options": options, "application_name": name}
        return create_engine(
            url, pool_pre_ping=True, pool_timeout=CONNECT_SECONDS, connect_args=connect_args, hide_parameters=True
        )
    engine = create_engine(url, hide_parameters=True)
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def end_sessions(session: Session, names: Collection[str]) -> None:
    """Ends what PostgreSQL's engines of these names have open, so that their locks are free. SQLite cannot."""
    if names and session.get_bind().dialect.name == "postgresql":
        of = "application_name = ANY(:names) AND usename = current_user"
        ended = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of}")  # noqa: S608 - no input in it
        session.execute(ended, {"names": list(names)})


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
