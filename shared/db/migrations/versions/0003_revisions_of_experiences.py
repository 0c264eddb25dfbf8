"""Experiences may be restated: revisions of one decision's reward, and what is still to be restated."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BY_DECISION = "ix_experiences_tenant_loop_id_decision_id"
BY_REVISION = "ix_experiences_tenant_loop_id_decision_id_revision"


def upgrade() -> None:
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.add_column(sa.Column("revision", sa.BigInteger(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("superseded", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("restates_sequence", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("previous_reward", sa.Float(precision=53), nullable=True))
        batch_op.drop_index(BY_DECISION)
        batch_op.create_index(BY_REVISION, ["tenant", "loop_id", "decision_id", "revision"], unique=True)
    # The defaults were for the rows that were there.
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.alter_column("revision", server_default=None)
        batch_op.alter_column("superseded", server_default=None)

    op.create_table(
        "restatements",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("settings_revision", sa.BigInteger(), nullable=False),
        sa.Column("done_sequence", sa.BigInteger(), nullable=False),
        sa.Column("until_sequence", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "loop_id", name=op.f("pk_restatements")),
    )


def downgrade() -> None:
    op.drop_table("restatements")
    # One row of a decision may stay: the one that counts.
    op.execute("DELETE FROM experiences WHERE superseded")
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.drop_index(BY_REVISION)
        batch_op.create_index(BY_DECISION, ["tenant", "loop_id", "decision_id"], unique=True)
        batch_op.drop_column("previous_reward")
        batch_op.drop_column("restates_sequence")
        batch_op.drop_column("superseded")
        batch_op.drop_column("revision")
