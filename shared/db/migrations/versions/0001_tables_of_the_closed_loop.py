"""Tables of the closed loop."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:

    op.create_table(
        "api_keys",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("key_id", sa.String(length=256), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "key_id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_table(
        "audit_log",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("audit_id", sa.String(length=256), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(length=256), nullable=False),
        sa.Column("verb", sa.String(length=256), nullable=False),
        sa.Column("object", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "audit_id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "consumer_offsets",
        sa.Column("consumer", sa.String(length=256), nullable=False),
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "topic", "partition", name=op.f("pk_consumer_offsets")),
    )
    op.create_table(
        "dangling_activations",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("decision_id", sa.String(length=256), nullable=False),
        sa.Column("activated_at", sa.BigInteger(), nullable=False),
        sa.Column("served_action_id", sa.String(length=256), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "decision_id", name=op.f("pk_dangling_activations")),
    )
    op.create_table(
        "dangling_feedback",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("feedback_id", sa.String(length=256), nullable=False),
        sa.Column("decision_id", sa.String(length=256), nullable=False),
        sa.Column("metric", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Float(precision=53), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "feedback_id", name=op.f("pk_dangling_feedback")),
    )
    with op.batch_alter_table("dangling_feedback", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_dangling_feedback_tenant_loop_id_decision_id"),
            ["tenant", "loop_id", "decision_id"],
            unique=False,
        )

    op.create_table(
        "dead_letters",
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.String(length=256), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("dead_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", name=op.f("pk_dead_letters")),
    )
    op.create_table(
        "decisions",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("decision_id", sa.String(length=256), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("action_id", sa.String(length=256), nullable=False),
        sa.Column("probability", sa.Float(precision=53), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=True),
        sa.Column("fallback_reason", sa.String(length=256), nullable=True),
        sa.Column("deferred", sa.Boolean(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("activated_at", sa.BigInteger(), nullable=True),
        sa.Column("served_action_id", sa.String(length=256), nullable=True),
        sa.Column("closes_at", sa.BigInteger(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "decision_id", name=op.f("pk_decisions")),
    )
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_decisions_closes_at"), ["closes_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_decisions_tenant_loop_id_decided_at_decision_id"),
            ["tenant", "loop_id", "decided_at", "decision_id"],
            unique=False,
        )

    op.create_table(
        "experiences",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("decision_id", sa.String(length=256), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_by", sa.String(length=256), nullable=False),
        sa.Column("action_id", sa.String(length=256), nullable=False),
        sa.Column("probability", sa.Float(precision=53), nullable=True),
        sa.Column("reward", sa.Float(precision=53), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "sequence", name=op.f("pk_experiences")),
    )
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_experiences_tenant_loop_id_decision_id"), ["tenant", "loop_id", "decision_id"], unique=True
        )

    op.create_table(
        "feedback",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("feedback_id", sa.String(length=256), nullable=False),
        sa.Column("decision_id", sa.String(length=256), nullable=False),
        sa.Column("metric", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Float(precision=53), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "feedback_id", name=op.f("pk_feedback")),
    )
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_feedback_tenant_loop_id_decision_id"), ["tenant", "loop_id", "decision_id"], unique=False
        )

    op.create_table(
        "joiner_counts",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "name", name=op.f("pk_joiner_counts")),
    )
    op.create_table(
        "loops",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("settings_revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("published_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", name=op.f("pk_loops")),
    )
    op.create_table(
        "media",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("sha256", sa.String(length=256), nullable=False),
        sa.Column("content_type", sa.String(length=256), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sha256", name=op.f("pk_media")),
    )
    op.create_table(
        "model_aliases",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("alias", sa.String(length=256), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("previous_version", sa.BigInteger(), nullable=True),
        sa.Column("alias_epoch", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_table(
        "model_versions",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=256), nullable=False),
        sa.Column("parent", sa.BigInteger(), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=256), nullable=False),
        sa.Column("covers_sequence", sa.BigInteger(), nullable=False),
        sa.Column("settings_revision", sa.BigInteger(), nullable=False),
        sa.Column("training_run_id", sa.String(length=256), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "version", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("training_run_id", name=op.f("uq_model_versions_training_run_id")),
    )
    op.create_table(
        "reward_sums",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("chunk", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("experiences", sa.BigInteger(), nullable=False),
        sa.Column("closed_by_timeout", sa.BigInteger(), nullable=False),
        sa.Column("reward_sum", sa.Float(precision=53), nullable=False),
        sa.Column("reward_square_sum", sa.Float(precision=53), nullable=False),
        sa.Column("last_decided_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "chunk", "model_version", name=op.f("pk_reward_sums")),
    )
    op.create_table(
        "training_runs",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("loop_id", sa.String(length=256), nullable=False),
        sa.Column("training_run_id", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=256), nullable=False),
        sa.Column("status", sa.String(length=256), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("covers", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Float(precision=53), nullable=False),
        sa.Column("loss", sa.Float(precision=53), nullable=True),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.String(length=256), nullable=True),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "loop_id", "training_run_id", name=op.f("pk_training_runs")),
    )
    with op.batch_alter_table("training_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_training_runs_status"), ["status"], unique=False)


def downgrade() -> None:

    with op.batch_alter_table("training_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_training_runs_status"))

    op.drop_table("training_runs")
    op.drop_table("reward_sums")
    op.drop_table("model_versions")
    op.drop_table("model_aliases")
    op.drop_table("media")
    op.drop_table("loops")
    op.drop_table("joiner_counts")
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_feedback_tenant_loop_id_decision_id"))

    op.drop_table("feedback")
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_experiences_tenant_loop_id_decision_id"))

    op.drop_table("experiences")
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_decisions_tenant_loop_id_decided_at_decision_id"))
        batch_op.drop_index(batch_op.f("ix_decisions_closes_at"))

    op.drop_table("decisions")
    op.drop_table("dead_letters")
    with op.batch_alter_table("dangling_feedback", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_dangling_feedback_tenant_loop_id_decision_id"))

    op.drop_table("dangling_feedback")
    op.drop_table("dangling_activations")
    op.drop_table("consumer_offsets")
    op.drop_table("audit_log")
    op.drop_table("api_keys")
