"""The gateway's answers, as much of them as pages show: the one place that knows what they look like."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.loop_report import ModalityCorrelation, ModalityImportance

Range = tuple[float, float]
RunStatus = Literal["queued", "running", "succeeded", "failed", "skipped"]


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


class Loop(Answer):
    """A loop; `aliases` names model versions."""

    loop_id: str
    modalities: dict[str, Modality]
    actions: list[ActionName]
    reward: RewardDefinition
    aliases: dict[str, str]

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
    count: int
    last_decided_at: datetime
    model_version: str | None = None


class Statistics(Answer):
    """What a loop has gathered and earned."""

    decisions: int
    feedback: int
    experiences: int
    dangling_feedback: int
    late_feedback: int
    duplicate_feedback: int
    duplicate_decisions: int
    reward: RewardEstimate | None
    reward_by_version: list[VersionReward]
    reward_curve: list[RewardBucket]
    modality_importance: ModalityImportance | None
    modality_correlation: ModalityCorrelation | None
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


class ModelVersion(Answer):
    """A model version with its lineage, and what was measured of it."""

    version: str
    status: Literal["ready", "rejected", "collected"]
    aliases: list[str]
    parent: str | None
    created_at: datetime
    metrics: dict[str, float | str | None]

    @property
    def gate(self) -> str | None:
        """What the gate found; None where it was never held against a champion."""
        finding = self.metrics.get("gate")
        return finding if isinstance(finding, str) else None

    @property
    def difference(self) -> float | None:
        """The gate's estimate of how much more reward than the champion it earns, in units of the reward's range."""
        difference = self.metrics.get("difference")
        return difference if isinstance(difference, float) else None


class TrainingRun(Answer):
    """One making of a model version; `progress` goes from 0 to 1."""

    training_run_id: str
    kind: Literal["initialise", "fine_tune"]
    status: RunStatus
    progress: float
    steps: int
    loss: float | None
    requested_at: datetime
    model_version: str | None
    detail: str | None


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
    feedback: list[StoredFeedback]

    def media(self, name: str) -> MediaValue | None:
        """The picture or sound that came in under a name; None where there is none."""
        try:
            return MediaValue.model_validate(self.context.get(name))
        except ValidationError:
            return None
