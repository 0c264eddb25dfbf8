"""The gateway's answers about model versions, and what they go through: training runs, evaluations, rollouts."""

from datetime import datetime
from typing import Final, Literal

from services.dashboard.answers import Answer, Range

RunStatus = Literal["queued", "running", "succeeded", "failed", "skipped"]
EvaluationStatus = Literal["queued", "running", "succeeded", "failed"]
RolloutStatus = Literal["running", "paused", "inconclusive", "promoted", "rolled_back", "stopped"]
Figures = dict[str, float | str | None]
# Of the estimators, the one that pages tell of where there is room for one only: doubly robust, or else the next.
PREFERRED: Final = ("dr", "snips", "switch_dr", "ips", "dm", "replay")
# While a rollout is one of these, it can be led.
OPEN: Final[tuple[RolloutStatus, ...]] = ("running", "paused", "inconclusive")


class ModelVersion(Answer):
    """A model version with its lineage, and what was measured of it."""

    version: str
    status: Literal["ready", "rejected", "collected"]
    aliases: list[str]
    parent: str | None
    training_run_id: str
    covers_sequence: int
    settings_revision: int
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
    reason: str | None
    requested_at: datetime
    finished_at: datetime | None
    model_version: str | None
    detail: str | None


class CurvePoint(Answer):
    """A fine-tune at one of its steps."""

    step: int
    loss: float
    learning_rate: float


class Part(Answer):
    sha256: str
    bytes: int | None


class ModelVersionDetail(ModelVersion):
    """A model version with what it was made from."""

    parts: dict[str, Part]
    settings: dict[str, object]
    code_version: str
    training_curve: list[CurvePoint]


class PolicyValue(Answer):
    """What a policy would have earned, by one estimator."""

    value: float | None
    normal: Range | None
    bootstrap: Range | None
    empirical_bernstein: Range | None


class EvaluationResult(Answer):
    """`verdict` is about how much the rows tell, not about what; `logged` is what was earned as it was decided."""

    rows: int
    clusters: int
    unsupported_share: float
    without_propensity: int
    immature: int
    effective_sample_size: float
    max_weight: float
    verdict: Literal["enough", "too_little", "unsupported"]
    warnings: list[str]
    logged: PolicyValue
    estimates: dict[str, PolicyValue]

    @property
    def preferred(self) -> tuple[str, PolicyValue] | None:
        """The estimate that is told first, with its name; None where no estimator gave a value."""
        found = ((name, self.estimates[name]) for name in PREFERRED if name in self.estimates)
        return next(((name, estimate) for name, estimate in found if estimate.value is not None), None)


class Evaluation(Answer):
    """An off-policy evaluation; `target` is a name, or an object of one member that names its kind."""

    evaluation_id: str
    status: EvaluationStatus
    target: str | dict[str, object]
    since: datetime | None
    until: datetime | None
    clip: float | None
    requested_at: datetime
    progress: float
    result: EvaluationResult | None
    detail: str | None


class Rollout(Answer):
    """A version on its way to becoming the champion; `step` counts `steps` from 0, `percent` of decisions are its."""

    rollout_id: str
    model_version: str
    champion_version: str | None
    status: RolloutStatus
    percent: int
    step: int
    steps: list[int]
    started_at: datetime
    step_started_at: datetime
    finished_at: datetime | None
    detail: str | None
    figures: Figures

    @property
    def is_open(self) -> bool:
        """Whether it can be led."""
        return self.status in OPEN


class RolloutEvent(Answer):
    event_id: str
    at: datetime
    kind: str
    caused_by: str
    step: int
    detail: str | None
    figures: Figures


class RolloutDetail(Rollout):
    """A rollout with its steps, oldest first."""

    events: list[RolloutEvent]


class SkippedLine(Answer):
    line: int
    reason: str


class ImportReport(Answer):
    """What became of the lines of an import."""

    accepted: int
    duplicates: int
    skipped: list[SkippedLine]
    skipped_total: int
