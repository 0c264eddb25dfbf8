"""Reports of loops."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "loop_reports",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("computed_at", sa.BigInteger(), nullable=False),
        sa.Column("correlation", sa.Float(precision=53), nullable=True),
        sa.Column("permuted_correlation", sa.Float(precision=53), nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "sequence", "model_version", name=op.f("pk_loop_reports")),
    )


def downgrade() -> None:
    op.drop_table("loop_reports")
