"""What the feedback service is told by the environment."""

from pydantic import Field

from shared.settings import PlatformSettings


class FeedbackSettings(PlatformSettings):
    """How the joiner paces itself."""

    joiner_poll_seconds: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="From the beginning of one look into the log to that of the next, where a look takes no longer: "
        "lower learns sooner, costs CPU.",
    )
    joiner_batch: int = Field(
        default=500, ge=1, le=10_000, description="Records of a topic in one transaction: higher is faster under load."
    )
    joiner_lease_seconds: float = Field(
        default=5.0,
        ge=0.5,
        le=300,
        description="With Kafka, where joiners share the partitions: after so long without a sign of life the others "
        "take a joiner's over; lower recovers sooner from a crash, higher bears longer pauses.",
    )
    joiner_spool_seconds: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="How long after the log was away no window ends by time: gateways drain their spools meanwhile, "
        "and what they took in time counts. Higher bears longer drains, lower joins sooner.",
    )
    joiner_grace_seconds: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="How long after its end a window stays open for feedback that is still on its way to the log.",
    )
