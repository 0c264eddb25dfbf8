"""What a loop serves while it is frozen; null where it is not."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("loops", sa.Column("frozen_to", sa.String(length=256), nullable=True))


def downgrade() -> None:
    op.drop_column("loops", "frozen_to")
