"""The partition that each decision was read from, and the joiners that share the partitions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005c"
down_revision: str | None = "0005d"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("log_partition", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "joiner_members",
        sa.Column("member", sa.String(length=256), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("member", name=op.f("pk_joiner_members")),
    )


def downgrade() -> None:
    op.drop_table("joiner_members")
    op.drop_column("decisions", "log_partition")
