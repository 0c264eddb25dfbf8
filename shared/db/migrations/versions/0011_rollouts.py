"""Rollouts with their steps, and who moved which alias."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=256), nullable=nullable)


def _number(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "alias_moves",
        _text("tenant"),
        _text("loop_id"),
        _number("epoch"),
        _text("alias"),
        _number("version", nullable=True),
        _number("previous_version", nullable=True),
        _number("moved_at"),
        _text("moved_by"),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "epoch", name=op.f("pk_alias_moves")),
    )
    op.create_table(
        "rollouts",
        _text("tenant"),
        _text("loop_id"),
        _text("rollout_id"),
        _number("version"),
        _number("champion_version", nullable=True),
        _text("status"),
        sa.Column("settings", sa.JSON(), nullable=False),
        _number("step"),
        _number("step_started_at"),
        _number("started_at"),
        _number("finished_at", nullable=True),
        _number("start_sequence"),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "rollout_id", name=op.f("pk_rollouts")),
    )
    op.create_index(op.f("ix_rollouts_status"), "rollouts", ["status"], unique=False)
    op.create_table(
        "rollout_events",
        _text("tenant"),
        _text("loop_id"),
        _text("rollout_id"),
        _text("event_id"),
        _number("at"),
        _text("kind"),
        _text("caused_by"),
        _number("step"),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "rollout_id", "event_id", name=op.f("pk_rollout_events")),
    )


def downgrade() -> None:
    op.drop_table("rollout_events")
    op.drop_index(op.f("ix_rollouts_status"), table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_table("alias_moves")
