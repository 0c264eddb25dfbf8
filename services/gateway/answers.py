"""What answers hold, for the API's documentation and for the answers that are not on a decision's path."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.fallback import FallbackReason
from shared.domain import End, EvaluationStatus, ModelStatus, RunKind, RunReason, RunStatus
from shared.evaluation.estimators import EstimatorName
from shared.evaluation.evaluation import EvaluationResult
from shared.evaluation.settings import Target
from shared.loop_settings import FrozenTo, LoopSettings
from shared.registry.manifest import CurvePoint
from shared.security import Role

Moment = str
Interval = tuple[float, float]


class Answer(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ProblemBody(Answer):
    """RFC 9457. `field` is the path of the field at fault, or null."""

    type: str = Field(examples=["urn:rewardloop:problem:unknown-modality"])
    title: str = Field(examples=["The loop has no such modality"])
    status: int = Field(examples=[422])
    detail: str
    field: str | None = Field(examples=["context.photo"])


Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    """Part of a list; `next_cursor` asks for the part after it, and is null at the end."""

    items: list[Item]
    next_cursor: str | None


class LoopAnswer(LoopSettings):
    """A loop's settings with every default filled in. It may be sent back: what is read-only is left alone."""

    loop_id: str
    settings_revision: int
    created_at: Moment
    frozen_to: FrozenTo | None = Field(description="What it serves while it is frozen; null where it is not.")
    aliases: dict[str, str] = Field(description="Alias → model version.", examples=[{"champion": "7"}])


class RankedAction(Answer):
    """A candidate; scores are null where no model version decided."""

    id: str
    probability: float
    expected_reward: float | None
    interval: Interval | None = Field(description="95 %, of the expected reward.")
    outcome_interval: Interval | None = Field(description="95 %, of the reward itself: noise included.")
    policy_logit: float | None = Field(
        description="Under `reward_guided`: the softmax of these over the allowed actions, with the floor, is the "
        "distribution. Null under other objectives."
    )


class DecisionAnswer(Answer):
    """The chosen action, and the distribution that it was drawn from."""

    decision_id: str
    action_id: str
    probability: float = Field(description="Of the chosen action: the propensity.")
    model_version: str | None
    ranking: list[RankedAction] = Field(description="All candidates, the likeliest first; excluded ones have 0.")
    modalities_used: list[str]
    modalities_missing: list[str]
    fallback_reason: FallbackReason | None
    modality_importance: dict[str, float] | None = Field(
        description="Share of each modality in the expected reward of the chosen action; they sum to one. Null where "
        "`explain` was not asked for, no model version decided, or none of them mattered."
    )
    logged: bool = Field(
        description="False where the event log is away and the gateway has no room left to keep the decision until it "
        "is back: nothing is learned from it. Its feedback is kept, and counted as dangling."
    )


class DecisionBatchAnswer(Answer):
    """One answer or one problem a row, in the order of the request."""

    decisions: list[DecisionAnswer | ProblemBody]


class DecisionSummary(Answer):
    """A decision in a list; `reward` is null until its window closes."""

    decision_id: str
    decided_at: Moment
    action_id: str
    probability: float
    model_version: str | None
    fallback_reason: str | None
    deferred: bool
    activated_at: Moment | None
    served_action_id: str | None
    reward: float | None


class StoredFeedback(Answer):
    """One event about a decision; late where it came after the window, so that the reward leaves it out."""

    feedback_id: str
    metric: str
    value: float | str
    received_at: Moment
    occurred_at: Moment | None
    late: bool


class DecisionDetail(DecisionAnswer):
    """A decision with everything that came of it."""

    decided_at: Moment
    settings_revision: int
    head_sequence: int
    context: dict[str, object] = Field(description="As it was sent; media as `content_type` with `data` in base64.")
    excluded_action_ids: list[str]
    baseline_action_id: str | None
    episode_id: str | None
    previous_decision_id: str | None
    end: End | None = Field(description="How the episode ended with this decision; null: it goes on, or may yet.")
    subject_id: str | None
    deferred: bool
    activated_at: Moment | None
    served_action_id: str | None
    closes_at: Moment | None
    feedback: list[StoredFeedback]
    reward: float | None = Field(
        description="What the feedback so far comes to, null where nothing has come; final once there is a `sequence`."
    )
    sequence: int | None = Field(description="Of the experience; null until the window closes.")


class ExperienceAnswer(Answer):
    """A decision joined with its reward.

    `probability` is null where another action than the drawn one was served, and where an import did not tell it.
    """

    sequence: int
    revision: int = Field(description="Above 1: the reward was defined anew, and computed again from the feedback.")
    restates_sequence: int | None = Field(description="Of the decision's first experience, where this restates it.")
    decision_id: str
    decided_at: Moment
    closed_at: Moment
    closed_by: Literal["feedback", "timeout", "import"]
    action_id: str
    probability: float | None
    reward: float
    model_version: str | None


class ActivationAnswer(Answer):
    """The activation is durable."""

    decision_id: str
    activated_at: Moment


class FeedbackAnswer(Answer):
    """The events are durable; their ids are in the order of the request."""

    accepted: int
    feedback_ids: list[str]


class EpisodeEndAnswer(Answer):
    """The end is durable."""

    episode_id: str
    end: End
    ended_at: Moment


class SkippedLine(Answer):
    """A line that was not taken, counted from 1, and why."""

    line: int
    reason: str


class ImportAnswer(Answer):
    """What became of the lines; what was accepted is durable."""

    accepted: int
    duplicates: int = Field(description="Lines whose `decision_id` is known, or stood in an earlier line.")
    skipped: list[SkippedLine] = Field(description="The first thousand.")
    skipped_total: int


class TrainingRunAnswer(Answer):
    """One making of a model version; `succeeded` means that its version serves, or is being rolled out."""

    training_run_id: str
    kind: RunKind
    reason: RunReason | None = Field(description="Why it was started; null of a loop's first version.")
    status: RunStatus
    requested_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    progress: float = Field(description="From 0 to 1.")
    loss: float | None
    steps: int
    model_version: str | None
    detail: str | None


class EvaluationAnswer(Answer):
    """An off-policy evaluation; `result` is there once it `succeeded`, `detail` says why it `failed`."""

    evaluation_id: str
    status: EvaluationStatus
    target: Target
    estimators: list[EstimatorName]
    since: Moment | None
    until: Moment | None
    clip: float | None
    requested_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    progress: float = Field(description="From 0 to 1.")
    result: EvaluationResult | None
    detail: str | None


class ModelVersionAnswer(Answer):
    """A model version with its lineage."""

    version: str
    status: ModelStatus = Field(
        description="`rejected`: the gate turned it down. `collected`: its weights were deleted, since nothing needed "
        "them; what it was made of stays."
    )
    aliases: list[str]
    parent: str | None
    covers_sequence: int = Field(description="The last experience that its head statistics rest on.")
    settings_revision: int
    training_run_id: str
    created_at: Moment
    metrics: dict[str, float | str | None]


class PartAnswer(Answer):
    """One file of weights."""

    sha256: str
    bytes: int | None = Field(description="Null where the file is gone.")


class DataWindowAnswer(Answer):
    """What a version learned from."""

    first_sequence: int
    last_sequence: int
    since: Moment
    until: Moment
    experiences: int
    held_out: int = Field(description="Of them the newest, which it was judged on before its head learned them too.")


class OriginAnswer(Answer):
    """What an imported version was called where it was made."""

    loop_id: str
    model_version: str
    parent: str | None
    training_run_id: str
    covers_sequence: int
    settings_revision: int
    manifest_sha256: str


class ModelVersionDetail(ModelVersionAnswer):
    """A model version with what it is made of."""

    parts: dict[str, PartAnswer]
    architecture: dict[str, object]
    settings: dict[str, object] = Field(description="The loop's settings that it was trained under.")
    code_version: str
    manifest_sha256: str = Field(description="Of all that this tells and of its parts: its identity.")
    data_window: DataWindowAnswer | None = Field(description="Null of a first version.")
    imported_from: OriginAnswer | None = Field(description="Null of one that was made here.")
    training_curve: list[CurvePoint] = Field(
        description="Of its fine-tune, at most a hundred points; empty of a first version."
    )


class CollectionAnswer(Answer):
    """What garbage collection did, or would do."""

    dry_run: bool
    collected: list[str] = Field(description="Versions that gave up their weights, newest first.")
    kept: dict[str, str] = Field(description="Version → why it keeps them.")
    bytes: int = Field(
        description="What they had that no other version has; the files go once they have been unneeded for "
        "`REWARDLOOP_VERSIONS_KEPT_DAYS`."
    )


class MediaAnswer(Answer):
    """Stored bytes; a context refers to them by `media_id`."""

    media_id: str = Field(description="SHA-256 of the bytes.")
    content_type: str
    size: int


class KeyAnswer(Answer):
    """A key, without the key itself."""

    key_id: str
    role: Role
    created_at: Moment
    revoked_at: Moment | None


class NewKeyAnswer(KeyAnswer):
    """A key that was just made: it is shown this once."""

    key: str


class DeadLetterAnswer(Answer):
    """A record that the joiner put aside. `payload` is base64, of the first 4 KiB of `size` bytes."""

    dead_letter_id: str
    topic: str
    partition: int
    position: int
    reason: str
    received_at: Moment
    dead_at: Moment
    replayed_at: Moment | None
    size: int
    payload: str


class AuditAnswer(Answer):
    """Who did what to which object."""

    audit_id: str
    at: Moment
    key_id: str
    verb: str
    object: str
