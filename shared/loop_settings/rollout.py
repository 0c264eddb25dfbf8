"""How a model version takes over, what holds it back, and who is held out."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from shared.loop_settings.fields import Duration, Settings

Strategy = Literal["immediate", "shadow", "canary", "progressive"]
SHADOW: Final = 0
# In percent of the decisions, by strategy, where none are given.
STEPS: Final[dict[Strategy, tuple[int, ...]]] = {
    "immediate": (),
    "shadow": (SHADOW,),
    "canary": (10,),
    "progressive": (10, 25, 50),
}


class GuardrailSettings(Settings):
    """What rolls a version back besides its reward; each is held against the champion in the same time."""

    slow_after: Duration = Field(
        default=timedelta(milliseconds=250),
        description="A decision that takes longer to make is slow: a version with a larger share of slow ones than "
        "the champion is rolled back. Shorter finds smaller delays.",
    )
    least_entropy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="A distribution whose entropy is below this share of an even draw's has collapsed: a version with "
        "a larger share of those than the champion is rolled back. Higher asks for more exploration. 0: never.",
    )
    segment_tolerance: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="A version that surely earns less than the champion in one of the segments that the loop's "
        "`fairness` names, by more than this share of what the champion earns there, is rolled back, whatever it earns "
        "on the whole. Higher lets segments pay for others.",
    )


class RolloutSettings(Settings):
    """How a version takes over, step by step."""

    strategy: Strategy = Field(
        default="immediate",
        description="`immediate`: at once. `shadow`: it scores along, and decides nothing until a person promotes it. "
        "`canary`: it decides for a share until it has proved itself. `progressive`: for a growing share.",
    )
    steps: list[Annotated[int, Field(ge=SHADOW, lt=100)]] = Field(
        default_factory=list,
        max_length=10,
        description="Percent of the decisions that the version makes, step by step, ascending; a first step of 0 has "
        "it score along only. Default by strategy: [0], [10], or [10, 25, 50].",
        examples=[[0, 10, 50]],
    )
    step_duration: Duration = Field(
        default=timedelta(minutes=10), description="How long a step takes at least: longer sees more of a day."
    )
    min_decisions: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Matured decisions of the version (in a shadow step: contexts scored) that a step needs at least.",
    )
    max_duration: Duration = Field(
        default=timedelta(days=7),
        description="A rollout without a verdict after this is `inconclusive`: it stays until a person decides.",
    )
    tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="By which share of the champion's mean reward a version may be worse and still be promoted: higher "
        "promotes sooner. One that is surely worse is rolled back all the same.",
    )
    guardrails: GuardrailSettings = GuardrailSettings()

    @model_validator(mode="after")
    def _steps_ascend(self) -> Self:
        if self.steps != sorted(set(self.steps)):
            raise ValueError("`steps` must ascend")
        if self.steps and self.strategy == "immediate":
            raise ValueError("`immediate` has no `steps`")
        return self

    @property
    def shares(self) -> tuple[int, ...]:
        """Percent of the decisions, step by step."""
        return tuple(self.steps) or STEPS[self.strategy]


class HoldoutSettings(Settings):
    """Subjects for whom no version ever decides: what they earn tells what the versions are worth."""

    share: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Of the subjects (or episodes, or decisions); higher is surer, and dearer.",
    )
    policy: Literal["baseline", "uniform"] = Field(
        default="baseline", description="What they get: the decision's `baseline_action_id`, or an even draw."
    )
