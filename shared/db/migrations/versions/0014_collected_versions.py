"""When versions gave up their weights, and which artifacts are weights and no media."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "model_artifacts",
        sa.Column("sha256", sa.String(length=256), nullable=False),
        sa.Column("kept_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_model_artifacts")),
    )
    op.add_column("model_versions", sa.Column("collected_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("model_versions", "collected_at")
    op.drop_table("model_artifacts")
