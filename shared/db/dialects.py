"""What SQLite and PostgreSQL spell alike but SQLAlchemy keeps apart."""

from collections.abc import Mapping

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


def put_row(session: Session, row: type[Base], values: Mapping[str, object]) -> None:
    """Writes a row whole, in place of the one under its key; two that do so at once leave one."""
    new = insert_on_conflict(session, row).values(**values)
    keys = [column.name for column in table_of(row).primary_key]
    session.execute(
        new.on_conflict_do_update(index_elements=keys, set_={name: new.excluded[name] for name in values.keys() - keys})
    )
