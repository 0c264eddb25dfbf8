"""Alembic's entry: runs the migrations on the connection that it was handed."""

from alembic import context

from shared.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
