"""What SQLite and PostgreSQL spell alike but SQLAlchemy keeps apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    LargeBinary,
    String,
    Table,
    any_,
    bindparam,
    func,
    insert,
    literal,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.tables import Base

# PostgreSQL's names of the columns' types, for rows that are copied in.
COPIED: Final = {
    String: "varchar",
    BigInteger: "int8",
    Boolean: "bool",
    Float: "float8",
    LargeBinary: "bytea",
    JSON: "json",
}


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


def insert_rows(session: Session, row: type[Base], rows: Sequence[Mapping[str, object]]) -> None:
    """Inserts rows that all name the same columns; on PostgreSQL by COPY, at a third of what statements cost it."""
    if not rows:
        return
    connection, table = session.connection(), table_of(row)
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), rows)
        return
    # Only here: a laptop's profile has no driver of PostgreSQL.
    from psycopg import Connection

    names = list(rows[0])
    quoted = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in names)
    driver = connection.connection.driver_connection
    assert isinstance(driver, Connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({quoted}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([_copied(table, name) for name in names])
        for one in rows:
            copy.write_row([one[name] for name in names])


def update_rows(session: Session, row: type[Base], rows: Sequence[Mapping[str, object]]) -> None:
    """Sets columns of rows by their keys; all name the same columns. On PostgreSQL in one statement."""
    if not rows:
        return
    connection, table = session.connection(), table_of(row)
    keys = [column.name for column in table.primary_key]
    names = [name for name in rows[0] if name not in keys]
    if connection.dialect.name != "postgresql":
        found = [table.c[name] == bindparam(f"key_{name}") for name in keys]
        changes = update(table).where(*found).values({name: bindparam(f"new_{name}") for name in names})
        prefixed = [{("key_" if name in keys else "new_") + name: of for name, of in one.items()} for one in rows]
        connection.execute(changes, prefixed)
        return
    given = list(rows[0])
    arrays = [literal([one[name] for one in rows], ARRAY(table.c[name].type)) for name in given]
    new = func.unnest(*arrays).table_valued(*given, name="new").render_derived()
    matches = [table.c[name] == new.c[name] for name in keys]
    connection.execute(update(table).where(*matches).values({name: new.c[name] for name in names}))


def is_among(session: Session, column: InstrumentedAttribute[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column's value is one of these: one parameter on PostgreSQL, which would plan thousands of them."""
    if session.get_bind().dialect.name != "postgresql":
        return column.in_(values)
    return column == any_(literal(list(values), ARRAY(String)))


def _copied(table: Table, name: str) -> str:
    return next(told for of, told in COPIED.items() if isinstance(table.c[name].type, of))
