"""What it takes to append a dead letter to its topic again."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("envelope", sa.JSON(), nullable=True))
    op.add_column("dead_letters", sa.Column("appended_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("dead_letters", sa.Column("replayed_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for column in ("replayed_at", "appended_at", "envelope"):
        op.drop_column("dead_letters", column)
