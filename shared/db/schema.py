"""Whether the database is there with this release's schema: what a process asks that does not upgrade it itself.

Without Alembic, which takes long to import: the revisions are the names of the migrations.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from shared.db.engine import open_engine

MIGRATIONS: Final = Path(__file__).parent / "migrations"
RETRY_SECONDS: Final = 1.0
# PostgreSQL's class 53, insufficient resources.
DISK_FULL: Final = "53100"
URL_ADVICE: Final = (
    "set REWARDLOOP_DATABASE_URL as in postgresql+psycopg://user:password@host/name, with psycopg installed"
)

logger: Final = structlog.get_logger(__name__)


class UnusableDatabaseError(RuntimeError):
    """The text says which database, what was seen and what to do."""


def open_known(url: str) -> Engine:
    """An engine; the database was not asked anything yet.

    Raises:
        UnusableDatabaseError: the URL is none.
    """
    try:
        return open_engine(url)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise UnusableDatabaseError(f"the database's URL is of no use ({first_line(error)}): {URL_ADVICE}") from error


def await_schema(url: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Returns once the database has this release's schema; while it is away or has an older one, that is told.

    Raises:
        UnusableDatabaseError: waiting would not help.
    """
    engine = open_known(url)
    told = None
    try:
        while (reason := _lacks(engine, url)) is not None:
            if reason != told:
                logger.warning("waiting_for_the_database", reason=reason)
                told = reason
            sleep(RETRY_SECONDS)
    finally:
        engine.dispose()


def await_schema_or_exit(url: str) -> None:
    """`await_schema` for the start of a process: one line on stderr, and status 1, where waiting would not help."""
    try:
        await_schema(url)
    except UnusableDatabaseError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped while waiting for the database")


def revisions() -> list[str]:
    """Every schema that this release knows, oldest first; the last one is its own."""
    return sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _lacks(engine: Engine, url: str) -> str | None:
    known = revisions()
    try:
        found = revision_of(engine)
    except DBAPIError as error:
        return away(url, error)
    if found is not None and found not in known:
        advice = "run the release that wrote it, or a newer one"
        raise UnusableDatabaseError(f"{shown(url)} has the schema {found}, which is not known here: {advice}")
    if found == known[-1]:
        return None
    has = "no schema" if found is None else f"the schema {found}"
    return f"{shown(url)} has {has}, and {known[-1]} is needed: run `rewardloop init`"


def revision_of(engine: Engine) -> str | None:
    """The schema that the database has; None where it has none."""
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def away(url: str, error: DBAPIError) -> str:
    """What to say of a database that does not answer, or has no room to."""
    if is_full(error):
        return f"{shown(url)} has no room on its disk ({first_line(error.orig)}): make room, and start again"
    return f"{shown(url)} does not answer ({first_line(error.orig)}): start it, or set REWARDLOOP_DATABASE_URL"


def is_full(error: DBAPIError) -> bool:
    """Whether the database's disk is."""
    sqlite, postgresql = getattr(error.orig, "sqlite_errorcode", None), getattr(error.orig, "sqlstate", None)
    return sqlite == sqlite3.SQLITE_FULL or postgresql == DISK_FULL


def shown(url: str) -> str:
    return "the database " + make_url(url).render_as_string(hide_password=True)


def first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]
