"""The gateway's answers, as much of them as pages show: the one place that knows what they look like."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.loop_report import Fairness, ModalityCorrelation, ModalityImportance

Range = tuple[float, float]
Role = Literal["decide", "feedback", "manage"]


class Answer(BaseModel):
    """What the dashboard needs of an answer; whatever else it holds is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Modality(Answer):
    kind: str


class ActionName(Answer):
    id: str


class RewardDefinition(Answer):
    metrics: dict[str, object]
    range: Range


class Exploration(Answer):
    strategy: str
    floor: float


class Key(Answer):
    """The key of who is signed in."""

    role: Role


class Loop(Answer):
    """A loop; `aliases` names model versions."""

    loop_id: str
    modalities: dict[str, Modality]
    actions: list[ActionName]
    reward: RewardDefinition
    exploration: Exploration
    aliases: dict[str, str]

    @property
    def kinds(self) -> dict[str, str]:
        """By modality."""
        return {name: modality.kind for name, modality in self.modalities.items()}

    @property
    def champion(self) -> str | None:
        return self.aliases.get("champion")


class RewardEstimate(Answer):
    mean: float
    interval: Range | None


class VersionReward(RewardEstimate):
    """What the decisions of one model version earned; None: no version decided."""

    model_version: str | None
    experiences: int


class RewardBucket(Answer):
    """A stretch of experiences in a row, and the model version that made most of its decisions (None: no version)."""

    first_sequence: int
    last_sequence: int
    mean: float
    interval: Range | None
    count: int
    last_decided_at: datetime
    model_version: str | None = None


class Reported(Answer):
    """What the newest report is about."""

    model_version: str
    experiences: int
    computed_at: datetime


class CorrelationPoint(Answer):
    """How the action followed the state when a report was made."""

    sequence: int
    correlation: float | None
    permuted: float | None


class Statistics(Answer):
    """What a loop has gathered and earned; `joiner_lag` is None while the event log is away."""

    decisions: int
    feedback: int
    experiences: int
    dangling_feedback: int
    late_feedback: int
    duplicate_feedback: int
    duplicate_decisions: int
    duplicate_activations: int
    conflicting_decisions: int
    dead_letters: int
    tenant_dead_letters: int
    restated: int
    joiner_lag: dict[str, int] | None
    spooled: dict[str, int]
    share_closed_by_timeout: float
    reward: RewardEstimate | None
    reward_by_version: list[VersionReward]
    reward_curve: list[RewardBucket]
    reported: Reported | None
    modality_importance: ModalityImportance | None
    modality_correlation: ModalityCorrelation | None
    modality_correlation_history: list[CorrelationPoint]
    fairness: dict[str, Fairness]
    warnings: list[str]

    @property
    def duplicates(self) -> int:
        return self.duplicate_feedback + self.duplicate_decisions


class DecisionSummary(Answer):
    """A decision in a list; `reward` is None until its window closes."""

    decision_id: str
    decided_at: datetime
    action_id: str
    probability: float
    model_version: str | None
    fallback_reason: str | None
    served_action_id: str | None
    reward: float | None


class RankedAction(Answer):
    """A candidate with its probability; the rest is None where no model version scored it."""

    id: str
    probability: float
    expected_reward: float | None
    interval: Range | None


class StoredFeedback(Answer):
    feedback_id: str
    metric: str
    value: float | str
    received_at: datetime
    late: bool


class MediaValue(Answer):
    """A picture or a sound of a context; `data` is base64, and None where the bytes are stored no more."""

    content_type: str
    data: str | None = None


class Decision(DecisionSummary):
    """A decision with everything that is known of it."""

    context: dict[str, object]
    ranking: list[RankedAction]
    modality_importance: dict[str, float] | None
    feedback: list[StoredFeedback]

    def media(self, name: str) -> MediaValue | None:
        """The picture or sound that came in under a name; None where there is none."""
        try:
            return MediaValue.model_validate(self.context.get(name))
        except ValidationError:
            return None


class DeadLetter(Answer):
    """A record of the tenant's that the joiner put aside."""

    dead_letter_id: str
    topic: str
    reason: str
    dead_at: datetime
    replayed_at: datetime | None
    size: int
