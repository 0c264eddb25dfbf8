"""Databases with the platform's tables and no rows, of either kind."""

from sqlalchemy import Engine, text

from shared.db.engine import open_engine
from shared.db.schema import revisions
from shared.db.tables import Base


def open_empty(url: str) -> Engine:
    """An engine on a database whose tables are made where they are not there, and emptied where they are."""
    engine = open_engine(url)
    with engine.execution_options(rewardloop_writes=True).begin() as connection:
        Base.metadata.create_all(connection)
        for table in Base.metadata.sorted_tables:
            connection.execute(table.delete())
        # As migrations would leave it: processes ask what schema there is.
        connection.execute(text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": revisions()[-1]})
    return engine
