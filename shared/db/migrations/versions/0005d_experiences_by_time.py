"""Lists of experiences by time need not walk through all later ones."""

from collections.abc import Sequence

from alembic import op

revision: str = "0005d"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BY_TIME = "ix_experiences_tenant_loop_id_decided_at"


def upgrade() -> None:
    op.create_index(BY_TIME, "experiences", ["tenant", "loop_id", "decided_at"], unique=False)


def downgrade() -> None:
    op.drop_index(BY_TIME, table_name="experiences")
