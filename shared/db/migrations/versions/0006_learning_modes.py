"""Why a training run was started, and when a loop went online from apprentice mode."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("training_runs", sa.Column("reason", sa.String(length=256), nullable=True))
    op.add_column("loops", sa.Column("online_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("loops", "online_at")
    op.drop_column("training_runs", "reason")
