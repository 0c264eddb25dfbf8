"""What the trainer is told by its environment."""

from pydantic import Field

from shared.settings import PlatformSettings


class TrainerSettings(PlatformSettings):
    """The platform's settings and those of training."""

    lease_seconds: float = Field(
        default=30.0, ge=1, description="How long a silent worker keeps its run; shorter recovers sooner from a crash."
    )
    joiner_seconds: float = Field(
        default=30.0, ge=0, description="How long a fine-tune waits for the joiner to reach what it must cover."
    )
    report_seconds: float = Field(
        default=60.0, ge=1, description="Between two looks for loops whose report is out of date; shorter costs time."
    )
    replay_experiences: int = Field(
        default=20_000, ge=100, description="Newest experiences that a fine-tune learns from; bounds memory and time."
    )
