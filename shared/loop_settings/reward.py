"""How feedback becomes a reward."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shared.loop_settings.fields import MAX_AMOUNT, Amount, Name, Settings


class CaptioningSettings(Settings):
    """Equation 16: α · BLEU + β · Detail - γ · Length of the served action's caption.

    A text that comes as feedback is a reference caption; several of them in one window are several references
    (`close_on_first_feedback: false` waits for them). Each term lies in [0, 1], so the score lies in [-γ, α + β].
    """

    kind: Literal["captioning"]
    alpha: float = Field(default=1.0, ge=0, le=1e6, description="α, weight of being right (BLEU).")
    beta: float = Field(default=0.5, ge=0, le=1e6, description="β, weight of saying much (Detail).")
    gamma: float = Field(default=0.5, ge=0, le=1e6, description="γ, weight of not saying too much (Length).")
    caption_feature: str = Field(
        default="caption",
        min_length=1,
        max_length=256,
        description="The action's feature that holds the caption; the action's id where it has none.",
    )

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest score."""
        return -self.gamma, self.alpha + self.beta


class MetricSettings(Settings):
    """One kind of feedback and its share in the reward."""

    weight: Amount = Field(default=1.0, description="Factor of the metric in the reward; negative for costs.")
    modality: Name | None = Field(
        default=None,
        description="The modality that the metric judges: it is left out where the context lacked that modality.",
    )
    scorer: CaptioningSettings | None = Field(
        default=None, description="Turns texts into a number: the metric then takes texts only. Null: numbers only."
    )

    @property
    def takes_texts(self) -> bool:
        return self.scorer is not None


def _expected_range(reward: dict[str, Any]) -> tuple[float, float]:
    """What scored metrics can come to, with numbers taken as 0 to 1; [0, 1] where no metric is scored."""
    metrics: list[MetricSettings] = list(reward.get("metrics", {}).values())
    if not any(metric.takes_texts for metric in metrics):
        return 0.0, 1.0
    bounds = [(metric.weight, metric.scorer.bounds if metric.scorer else (0.0, 1.0)) for metric in metrics]
    ends = [sorted((weight * low, weight * high)) for weight, (low, high) in bounds]
    low, high = sum(low for low, _ in ends), sum(high for _, high in ends)
    return max(low, -MAX_AMOUNT), min(high, MAX_AMOUNT)


class RewardSettings(Settings):
    """How feedback becomes a reward: the sum over metrics of weight times value (equation 10)."""

    metrics: dict[Name, MetricSettings] = Field(
        default_factory=lambda: {"reward": MetricSettings()}, min_length=1, max_length=32
    )
    range: tuple[Amount, Amount] = Field(
        default_factory=_expected_range,
        description="Least and greatest reward that is expected: scores are standardised by it, rewards are not cut. "
        "Default: [0, 1]; with scored metrics what the sum of weights times scores can come to.",
    )

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        if not self.range[0] < self.range[1]:
            raise ValueError("`range` must ascend")
        return self
