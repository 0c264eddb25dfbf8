"""The schema of the database: brought to the newest revision by whoever starts a platform or a gateway.

A room of its own: importing Alembic costs time at each start, which processes that only open the database need not pay.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, OperationalError

from shared.db.engine import open_engine

MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Of the lock by which processes that start together migrate one after the other; any number will do.
MIGRATION_LOCK: Final = 7_367_914_502


class UnusableDatabaseError(RuntimeError):
    """The text says which database, what was seen and what to do."""


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
