"""What SQLite and PostgreSQL spell alike but SQLAlchemy keeps apart."""

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.tables import Base


def table_of(row: type[Base]) -> Table:
    """The table behind a row's class, for statements that need no objects."""
    return Base.metadata.tables[row.__tablename__]


def insert_on_conflict(session: Session, row: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that takes `on_conflict_do_nothing` and `on_conflict_do_update`."""
    dialect = session.get_bind().dialect.name
    return (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table_of(row))
