"""The schema of the database: brought to the newest revision by whoever starts a platform or a gateway.

A room of its own: importing Alembic costs time at each start, which processes that only open the database need not pay.
"""

from contextlib import ExitStack
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError

from shared.db.schema import MIGRATIONS, UnusableDatabaseError, away, first_line, open_known, shown

# Of the lock by which processes that start together migrate one after the other; any number will do.
MIGRATION_LOCK: Final = 7_367_914_502


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
    engine = open_known(url)
    try:
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            upgrade(engine)
            undo.pop_all()
    except OperationalError as error:
        raise UnusableDatabaseError(away(url, error)) from error
    except CommandError as error:
        advice = "run the release that wrote it, or a newer one"
        raise UnusableDatabaseError(f"{shown(url)} has an unknown schema ({first_line(error)}): {advice}") from error
    return engine
