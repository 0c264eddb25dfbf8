"""Every table of the platform; times are microseconds since 1970, UTC. The migrations in migrations/ make them."""

from sqlalchemy import JSON, BigInteger, Boolean, Float, Index, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.domain import TRACEPARENT_LENGTH
from shared.eventlog.envelopes import Envelope

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# Experiences that share a row of reward_sums.
REWARD_CHUNK = 20


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: String(256),
        int: BigInteger,
        float: Float(53),
        bool: Boolean,
        bytes: LargeBinary,
        dict[str, object]: JSON,
        Envelope: JSON,
    }


class LoopRow(Base):
    __tablename__ = "loops"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, object]]
    settings_revision: Mapped[int]
    created_at: Mapped[int]
    # When it went online from apprentice mode; null where it never did.
    online_at: Mapped[int | None]
    # What it serves while it is frozen; null where it is not.
    frozen_to: Mapped[str | None]
    # The last sequence that an experience of the loop got, and the last one that the log has.
    last_sequence: Mapped[int] = mapped_column(default=0)
    published_sequence: Mapped[int] = mapped_column(default=0)


class ApiKeyRow(Base):
    __tablename__ = "api_keys"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[bytes] = mapped_column(unique=True)
    role: Mapped[str]
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class DecisionRow(Base):
    __tablename__ = "decisions"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str] = mapped_column(primary_key=True)
    decided_at: Mapped[int]
    action_id: Mapped[str]
    probability: Mapped[float]
    model_version: Mapped[int | None]
    fallback_reason: Mapped[str | None]
    deferred: Mapped[bool]
    request_sha256: Mapped[bytes]
    activated_at: Mapped[int | None]
    served_action_id: Mapped[str | None]
    # When the window of the reward ends; null once closed, and while a deferred decision waits for its activation.
    closes_at: Mapped[int | None]
    # Where it stands in the log: the joiner that reads its feedback there closes its window.
    log_partition: Mapped[int] = mapped_column(default=0, server_default="0")
    # The decision before it in its episode.
    previous_decision_id: Mapped[str | None]
    # Where it stands in a trace; null where it is not sampled.
    traceparent: Mapped[str | None] = mapped_column(String(TRACEPARENT_LENGTH))
    # DecisionMade as it was logged.
    payload: Mapped[bytes]

    __table_args__ = (
        Index(None, "closes_at"),
        Index(None, "tenant", "loop_id", "decided_at", "decision_id"),
        Index(None, "tenant", "loop_id", "previous_decision_id"),
    )


class FeedbackRow(Base):
    __tablename__ = "feedback"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    feedback_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str]
    metric: Mapped[str]
    number: Mapped[float | None]
    text: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[int]
    occurred_at: Mapped[int | None]
    # It came after the window of its decision.
    late: Mapped[bool]

    __table_args__ = (Index(None, "tenant", "loop_id", "decision_id"),)


class DanglingFeedbackRow(Base):
    """Feedback whose decision is not known; it moves to `feedback` when the decision comes."""

    __tablename__ = "dangling_feedback"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    feedback_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str]
    metric: Mapped[str]
    number: Mapped[float | None]
    text: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[int]
    occurred_at: Mapped[int | None]

    __table_args__ = (Index(None, "tenant", "loop_id", "decision_id"),)


class DanglingActivationRow(Base):
    """An activation whose decision is not known; it is applied when the decision comes."""

    __tablename__ = "dangling_activations"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str] = mapped_column(primary_key=True)
    activated_at: Mapped[int]
    served_action_id: Mapped[str | None]


class EpisodeEndRow(Base):
    """How an episode ended, and with which decision; the first end counts."""

    __tablename__ = "episode_ends"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    episode_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str]
    # terminated or truncated
    end: Mapped[str]
    ended_at: Mapped[int]

    __table_args__ = (Index(None, "tenant", "loop_id", "decision_id"),)


class ExperienceRow(Base):
    __tablename__ = "experiences"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    decision_id: Mapped[str]
    decided_at: Mapped[int]
    closed_at: Mapped[int]
    # feedback or timeout
    closed_by: Mapped[str]
    action_id: Mapped[str]
    probability: Mapped[float | None]
    reward: Mapped[float]
    model_version: Mapped[int | None]
    # 1, and one more with each restatement of the decision's reward.
    revision: Mapped[int] = mapped_column(default=1)
    # A later revision counts in its place.
    superseded: Mapped[bool] = mapped_column(default=False)
    # Of a restatement: the sequence of the first revision, and the reward that this one takes the place of.
    restates_sequence: Mapped[int | None]
    previous_reward: Mapped[float | None]
    # The decision's.
    traceparent: Mapped[str | None] = mapped_column(String(TRACEPARENT_LENGTH))

    __table_args__ = (
        Index(None, "tenant", "loop_id", "decision_id", "revision", unique=True),
        Index(None, "tenant", "loop_id", "decided_at"),
    )


class VersionStateRow(Base):
    """An experience's state under a version that did not decide it, as the log was given it; float32, little-endian.

    Both are null where the version cannot read the decision's context.
    """

    __tablename__ = "version_states"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[bytes | None]
    # Where the version reads the actions' features.
    action_embedding: Mapped[bytes | None]


class RestatementRow(Base):
    """A loop whose reward was defined anew: its experiences are to be restated."""

    __tablename__ = "restatements"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    # The revision that asked for it.
    settings_revision: Mapped[int]
    # The last sequence that was looked at, and the last one to look at: null until the joiner begins.
    done_sequence: Mapped[int] = mapped_column(default=0)
    until_sequence: Mapped[int | None]


class DeadLetterRow(Base):
    """A record that is not an event of ours, with the place where it stood and why it was put aside."""

    __tablename__ = "dead_letters"
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    offset: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str | None]
    reason: Mapped[str] = mapped_column(Text)
    payload: Mapped[bytes]
    # Its key and headers, see shared/eventlog/envelopes.py; null of those that older releases put aside.
    envelope: Mapped[Envelope | None]
    appended_at: Mapped[int] = mapped_column(server_default="0")
    dead_at: Mapped[int]
    # When it was appended to its topic again.
    replayed_at: Mapped[int | None]


class JoinerCountRow(Base):
    """How many events of a loop the joiner has kept or dropped, by name: decisions, duplicate_feedback, …"""

    __tablename__ = "joiner_counts"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


class RewardSumRow(Base):
    """Sums of the joined rewards by model version and by chunk of the sequence: statistics read these, not the rows."""

    __tablename__ = "reward_sums"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    # The sequence less 1, divided by REWARD_CHUNK.
    chunk: Mapped[int] = mapped_column(primary_key=True)
    # 0 where no model version decided
    model_version: Mapped[int] = mapped_column(primary_key=True)
    experiences: Mapped[int]
    closed_by_timeout: Mapped[int]
    reward_sum: Mapped[float]
    reward_square_sum: Mapped[float]
    last_decided_at: Mapped[int]


class ConsumerOffsetRow(Base):
    """The next offset that a consumer reads, written in the transaction of what it read."""

    __tablename__ = "consumer_offsets"
    consumer: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    offset: Mapped[int]
    # Grows with every new owner of the partition; a commit under an older one is refused.
    epoch: Mapped[int]


class JoinerMemberRow(Base):
    """A joiner that shares the partitions with others; its beat goes on as long as it lives."""

    __tablename__ = "joiner_members"
    member: Mapped[str] = mapped_column(primary_key=True)
    beat: Mapped[int]


class LoopReportRow(Base):
    """What the trainer found out about a loop: what its champion looks at, and how fair its choices are."""

    __tablename__ = "loop_reports"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    # The last experience that it covers.
    sequence: Mapped[int] = mapped_column(primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True)
    computed_at: Mapped[int]
    # Of the report's own numbers those that are told over time.
    correlation: Mapped[float | None]
    permuted_correlation: Mapped[float | None]
    report: Mapped[dict[str, object]]


class ModelVersionRow(Base):
    __tablename__ = "model_versions"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    # ready or rejected
    status: Mapped[str]
    # When it gave up its weights; null while it has them.
    collected_at: Mapped[int | None]
    parent: Mapped[int | None]
    manifest_sha256: Mapped[str]
    # The last experience that its head statistics rest on.
    covers_sequence: Mapped[int]
    settings_revision: Mapped[int]
    training_run_id: Mapped[str] = mapped_column(unique=True)
    metrics: Mapped[dict[str, object]]
    created_at: Mapped[int]


class ModelArtifactRow(Base):
    """Weights in the artifact store, of whatever tenant: the row comes before the file and goes after it."""

    __tablename__ = "model_artifacts"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    # When a version that has it was last about to be registered.
    kept_at: Mapped[int]


class ModelAliasRow(Base):
    __tablename__ = "model_aliases"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    previous_version: Mapped[int | None]
    alias_epoch: Mapped[int]
    moved_at: Mapped[int]


class AliasMoveRow(Base):
    """Who pointed an alias at which version, and when; the version is null where the alias was taken away."""

    __tablename__ = "alias_moves"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    # As the alias's epoch.
    epoch: Mapped[int] = mapped_column(primary_key=True)
    alias: Mapped[str]
    version: Mapped[int | None]
    previous_version: Mapped[int | None]
    moved_at: Mapped[int]
    moved_by: Mapped[str]


class RolloutRow(Base):
    """A version on its way to becoming the champion, or turned back."""

    __tablename__ = "rollouts"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    rollout_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    # The champion when it began: what it is held against, and what comes back.
    champion_version: Mapped[int | None]
    status: Mapped[str]
    settings: Mapped[dict[str, object]]
    # Which of the settings' steps, from 0.
    step: Mapped[int]
    step_started_at: Mapped[int]
    started_at: Mapped[int]
    finished_at: Mapped[int | None]
    # The loop's last experience when it began.
    start_sequence: Mapped[int]
    detail: Mapped[str | None] = mapped_column(Text)
    # What was last found.
    figures: Mapped[dict[str, object]]

    __table_args__ = (Index(None, "status"),)


class RolloutEventRow(Base):
    """One step of a rollout, with the figures that decided it."""

    __tablename__ = "rollout_events"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    rollout_id: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[int]
    kind: Mapped[str]
    caused_by: Mapped[str]
    step: Mapped[int]
    detail: Mapped[str | None] = mapped_column(Text)
    figures: Mapped[dict[str, object]]


class WebhookRow(Base):
    """An address that is told of every step of the tenant's rollouts."""

    __tablename__ = "webhooks"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    # What signs: it cannot be kept as a hash.
    secret: Mapped[str]
    created_at: Mapped[int]


class WebhookDeliveryRow(Base):
    """One message to one webhook."""

    __tablename__ = "webhook_deliveries"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str]
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    attempts: Mapped[int]
    # When it is tried (again); null once it was taken, or given up.
    next_at: Mapped[int | None]

    __table_args__ = (Index(None, "next_at"),)


class TrainingRunRow(Base):
    __tablename__ = "training_runs"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    training_run_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    status: Mapped[str]
    requested_at: Mapped[int]
    covers: Mapped[dict[str, object]]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    loss: Mapped[float | None]
    steps: Mapped[int] = mapped_column(default=0)
    version: Mapped[int | None]
    detail: Mapped[str | None] = mapped_column(Text)
    # requested, experiences, drift or online; null of a loop's first version.
    reason: Mapped[str | None]
    # Who works on it until when; another worker may take it after that.
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[int | None]

    __table_args__ = (Index(None, "status"),)


class EvaluationRow(Base):
    __tablename__ = "evaluations"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    loop_id: Mapped[str] = mapped_column(primary_key=True)
    evaluation_id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    settings: Mapped[dict[str, object]]
    requested_at: Mapped[int]
    covers: Mapped[dict[str, object]]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    # Null until it succeeded.
    result: Mapped[dict[str, object] | None]
    detail: Mapped[str | None] = mapped_column(Text)
    # Who works on it until when; another worker may take it after that.
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[int | None]

    __table_args__ = (Index(None, "status"),)


class MediaRow(Base):
    __tablename__ = "media"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    content_type: Mapped[str]
    size: Mapped[int]
    created_at: Mapped[int]


class AuditRow(Base):
    """One row for each mutating call: who did what to which object."""

    __tablename__ = "audit_log"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    audit_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[int]
    key_id: Mapped[str]
    verb: Mapped[str]
    object: Mapped[str]
