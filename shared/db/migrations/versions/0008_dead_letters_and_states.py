"""Dead letters can be appended to their topics again; states of experiences under versions that did not decide."""

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
    op.create_table(
        "version_states",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("action_embedding", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "version", "sequence", name=op.f("pk_version_states")),
    )
    # Every version that serves is fed again, now that what it is fed is kept.
    op.execute("DELETE FROM consumer_offsets WHERE consumer = 'feeder'")


def downgrade() -> None:
    op.drop_table("version_states")
    for column in ("replayed_at", "appended_at", "envelope"):
        op.drop_column("dead_letters", column)
