"""What the trainer finds out about a loop from time to time: what its champion looks at, and how fair its choices are.

Stored as JSON, told by statistics: one shape for both. A number that cannot be had is null.
"""

from pydantic import BaseModel, ConfigDict, Field

Interval = tuple[float, float]


class Part(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(frozen=True)


class ModalityFigures(Part):
    """One modality in the newest experiences."""

    share: float | None = Field(description="Its mean share in the gradient of the loss; shares sum to one.")
    loss_rise: float | None = Field(description="How much the loss rises when the modality is masked.")
    missing_rate: float = Field(description="Share of the experiences that came without it.")


class ModalityImportance(Part):
    """What the estimate of the taken action rests on; null where the champion has learned nothing yet."""

    loss: float | None = Field(
        description="Mean squared error of the estimate, in units of the reward's range squared."
    )
    modalities: dict[str, ModalityFigures]


class CorrelationFigures(Part):
    """Whether the taken action follows from something: in [-1, 1], averaged over actions by their share."""

    correlation: float | None
    permuted: float | None = Field(description="The mean of ten with the actions permuted: what chance alone gives.")
    by_action: dict[str, float | None] = Field(description="Of the twenty most frequent actions.")


class ModalityCorrelation(Part):
    """Does the action follow the state H, and each modality alone?"""

    state: CorrelationFigures
    modalities: dict[str, CorrelationFigures]


class Estimate(Part):
    """With its 95 % interval."""

    value: float
    interval: Interval


class SegmentFigures(Part):
    """The decisions of one segment."""

    decisions: int
    selection_rates: dict[str, Estimate] = Field(description="How often each of the most frequent actions was taken.")
    reward: Estimate = Field(description="Mean reward.")


class Fairness(Part):
    """Actions and rewards by segment of a field. A difference is greatest minus least, null below two segments."""

    segments: dict[str, SegmentFigures]
    left_out: int = Field(description="Decisions without the field, or of a segment that has too few of them.")
    demographic_parity_difference: dict[str, float] | None = Field(description="Of the selection rates, by action.")
    reward_difference: float | None


class LoopReport(Part):
    """The newest experiences of a loop under one model version."""

    experiences: int
    modality_importance: ModalityImportance
    modality_correlation: ModalityCorrelation
    fairness: dict[str, Fairness] = Field(description="By segment field, as the loop's settings name them.")
