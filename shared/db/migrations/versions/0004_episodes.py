"""The decision before a decision, and how episodes ended."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("previous_decision_id", sa.String(length=256), nullable=True))
    op.create_index(
        op.f("ix_decisions_tenant_loop_id_previous_decision_id"),
        "decisions",
        ["tenant", "loop_id", "previous_decision_id"],
        unique=False,
    )
    op.create_table(
        "episode_ends",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("episode_id", sa.String(length=256), nullable=False),
        sa.Column("decision_id", sa.String(length=256), nullable=False),
        sa.Column("end", sa.String(length=256), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "episode_id", name=op.f("pk_episode_ends")),
    )
    op.create_index(
        op.f("ix_episode_ends_tenant_loop_id_decision_id"),
        "episode_ends",
        ["tenant", "loop_id", "decision_id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_episode_ends_tenant_loop_id_decision_id"), table_name="episode_ends")
    op.drop_table("episode_ends")
    op.drop_index(op.f("ix_decisions_tenant_loop_id_previous_decision_id"), table_name="decisions")
    op.drop_column("decisions", "previous_decision_id")
