"""The nouns of the platform. Times are microseconds since 1970, UTC, by the server's clock, and end in `_at`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], int]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

Kind = Literal["text", "image", "audio", "video", "tabular", "embedding"]
Table = Mapping[str, float | str | bool]

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
# W3C's, of version 00, of what is sampled.
TRACEPARENT_PATTERN = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-01$"
TRACEPARENT_LENGTH = 55
# Context values up to this size ride in the event; the bytes of larger ones stand in the artifact store.
INLINE_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Media:
    """Bytes of a picture, a sound, a clip, or of a text too long to stand inline.

    `data` is None where they stand in the artifact store only.
    """

    content_type: str
    sha256: str
    data: bytes | None = None


# text, media (image, audio, video), tabular, or embedding [D]
ContextValue = str | Media | Table | Floats
Context = Mapping[str, ContextValue]


@dataclass(frozen=True, slots=True)
class Action:
    """A candidate; `features` is None where the action is known by its id alone.

    `logged` is what wire.logged_action made of it: candidates come again and again, and need be written once.
    """

    id: str
    features: Table | None = None
    logged: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One model version of one loop."""

    tenant: str
    loop_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What policy computed of A candidates: Q in the reward's unit, epistemic and total variance; float64 [A] each.

    Where the version has learned a policy itself, the distribution is the softmax of `policy_logits`, else None.
    """

    expected_rewards: Doubles
    variances: Doubles
    outcome_variances: Doubles
    policy_logits: Doubles | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice, with everything that it rests on.

    `state` (H, [S]) and `scores` are None where no model version decided; `probabilities` follow `actions`. An imported
    decision whose probability is not known has 0 there.
    """

    tenant: str
    loop_id: str
    decision_id: str
    decided_at: int
    context: Context
    actions: Sequence[Action]
    action_id: str
    probability: float
    probabilities: Doubles
    seed: int
    settings_revision: int
    request_sha256: bytes
    model_version: int | None = None
    head_sequence: int = 0
    state: Floats | None = None
    scores: Scores | None = None
    fallback_reason: str | None = None
    modalities_used: Sequence[str] = ()
    modalities_missing: Sequence[str] = ()
    excluded_action_ids: Sequence[str] = ()
    baseline_action_id: str | None = None
    episode_id: str | None = None
    previous_decision_id: str | None = None
    subject_id: str | None = None
    deferred: bool = False
    # Share of each modality that was used; None where nobody asked for it, or none mattered.
    modality_importance: Mapping[str, float] | None = None
    # `champion`, `canary` or `holdout`, and the arm's share, where a rollout or a holdout is under way.
    arm: str | None = None
    arm_share: float = 1.0
    # Whose decision it was to be: another one than `model_version` where that had to be rescued.
    assigned_version: int | None = None
    rollout_id: str | None = None
    rollout_step: int | None = None
    # Microseconds from the request to the choice.
    decided_in: int = 0
    # Where it stands in a trace; None where it is not sampled. The envelope has it, not the payload.
    traceparent: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Activation:
    """A deferred decision was shown; `served_action_id` is None where the drawn action was."""

    tenant: str
    loop_id: str
    decision_id: str
    activated_at: int
    served_action_id: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """An event about a decision: a named metric and a number, or a text that the loop's reward turns into one."""

    tenant: str
    loop_id: str
    feedback_id: str
    decision_id: str
    metric: str
    value: float | str
    received_at: int
    occurred_at: int | None = None
    traceparent: str | None = field(default=None, compare=False)


End = Literal["terminated", "truncated"]


@dataclass(frozen=True, slots=True)
class EpisodeEnd:
    """An episode is over with this decision: nothing follows, or more would have followed that nobody sees."""

    tenant: str
    loop_id: str
    episode_id: str
    decision_id: str
    end: End
    ended_at: int


@dataclass(frozen=True, slots=True)
class ImportedExperience:
    """A decision of another system with all that came of it; `reward` is None where feedback makes it.

    The decision's probability is 0 where none was given.
    """

    decision: Decision
    feedback: Sequence[Feedback] = ()
    reward: float | None = None
    end: End | None = None

    @property
    def tenant(self) -> str:
        return self.decision.tenant

    @property
    def loop_id(self) -> str:
        return self.decision.loop_id

    @property
    def decision_id(self) -> str:
        return self.decision.decision_id

    @property
    def episode_end(self) -> EpisodeEnd | None:
        """That of its episode, at the time of the decision."""
        of = self.decision
        if self.end is None or of.episode_id is None:
            return None
        return EpisodeEnd(of.tenant, of.loop_id, of.episode_id, of.decision_id, self.end, of.decided_at)


@dataclass(frozen=True, slots=True)
class Experience:
    """A decision joined with its reward; `sequence` has no gaps within a loop.

    A restatement has a sequence of its own: `restates_sequence` is that of the decision's first experience, and
    `previous_reward` the reward that this one takes the place of.

    `probability` is None where another action than the drawn one was served, and where it is not known. `state` [S] and
    `action_embedding` [G], where the version reads actions' features, are of `model_version`.
    """

    tenant: str
    loop_id: str
    sequence: int
    decision_id: str
    decided_at: int
    action_id: str
    probability: float | None
    reward: float
    model_version: int | None = None
    state: Floats | None = None
    action_embedding: Floats | None = None
    restates_sequence: int | None = None
    previous_reward: float | None = None
    # That of the decision.
    traceparent: str | None = field(default=None, compare=False)


Alias = Literal["champion", "challenger", "shadow", "canary"]
# rejected: turned down by the gate. collected: its weights were deleted, since nothing needed them.
ModelStatus = Literal["ready", "rejected", "collected"]
RunStatus = Literal["queued", "running", "succeeded", "failed", "skipped"]
RunKind = Literal["initialise", "fine_tune"]
# Somebody asked; enough is new; served expectations began to fail; the loop went online.
RunReason = Literal["requested", "experiences", "drift", "online"]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """An immutable bundle of encoder, fusion and policy weights.

    `manifest_sha256` names its manifest in the artifact store.
    """

    tenant: str
    loop_id: str
    version: int
    status: ModelStatus
    parent: int | None
    manifest_sha256: str
    covers_sequence: int
    settings_revision: int
    training_run_id: str
    metrics: Mapping[str, float | str | None]
    created_at: int

    @property
    def ref(self) -> ModelRef:
        return ModelRef(self.tenant, self.loop_id, self.version)


@dataclass(frozen=True, slots=True)
class Retention:
    """Which versions keep their weights besides those that are needed: so many of a loop, the newest, and each for
    `least_age` microseconds since it was made or last named."""

    versions: int
    least_age: int


@dataclass(frozen=True, slots=True)
class AliasPointer:
    """Which version an alias names; `epoch` grows with every move within the loop."""

    tenant: str
    loop_id: str
    alias: Alias
    version: int
    previous_version: int | None
    epoch: int
    moved_at: int


@dataclass(frozen=True, slots=True)
class RunRef:
    """One training run of one loop."""

    tenant: str
    loop_id: str
    training_run_id: str


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One making of a model version; the row with its lease is the truth, the Celery message only a hint."""

    tenant: str
    loop_id: str
    training_run_id: str
    kind: RunKind
    status: RunStatus
    requested_at: int
    # topic/partition → log offset that the joiner must have passed before training starts
    covers: Mapping[str, int]
    started_at: int | None = None
    finished_at: int | None = None
    progress: float = 0.0
    loss: float | None = None
    steps: int = 0
    version: int | None = None
    detail: str | None = None
    # None of a loop's first version, and of runs older than reasons.
    reason: RunReason | None = None

    @property
    def ref(self) -> RunRef:
        return RunRef(self.tenant, self.loop_id, self.training_run_id)


EvaluationStatus = Literal["queued", "running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class EvaluationRef:
    """One evaluation of one loop."""

    tenant: str
    loop_id: str
    evaluation_id: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An off-policy evaluation, asked for or done; `settings` and `result` are JSON of shared.evaluation's models.

    `covers` is topic/partition → log offset that the joiner must have passed before it starts.
    """

    tenant: str
    loop_id: str
    evaluation_id: str
    status: EvaluationStatus
    settings: Mapping[str, object]
    requested_at: int
    covers: Mapping[str, int]
    started_at: int | None = None
    finished_at: int | None = None
    progress: float = 0.0
    result: Mapping[str, object] | None = None
    detail: str | None = None

    @property
    def ref(self) -> EvaluationRef:
        return EvaluationRef(self.tenant, self.loop_id, self.evaluation_id)
