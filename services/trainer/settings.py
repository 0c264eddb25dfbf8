"""What the trainer is told by its environment."""

from pydantic import Field

from shared.settings import DeviceName, PlatformSettings


class TrainerSettings(PlatformSettings):
    """The platform's settings and those of training."""

    lease_seconds: float = Field(
        default=30.0, ge=1, description="How long a silent worker keeps its run; shorter recovers sooner from a crash."
    )
    evaluation_rows: int = Field(
        default=100_000,
        ge=100,
        le=1_000_000,
        description="The newest experiences of its window that an evaluation reads at most; more take memory and time.",
    )
    joiner_seconds: float = Field(
        default=30.0, ge=0, description="How long a fine-tune waits for the joiner to reach what it must cover."
    )
    report_seconds: float = Field(
        default=60.0, ge=1, description="Between two looks for loops whose report is out of date; shorter costs time."
    )
    collect_seconds: float = Field(
        default=3600.0,
        ge=1,
        description="Between two looks for weights that nothing needs (REWARDLOOP_VERSIONS_KEPT says which).",
    )
    replay_experiences: int = Field(
        default=20_000, ge=100, description="Newest experiences that a fine-tune learns from; bounds memory and time."
    )
    training_processes: int = Field(
        default=1,
        ge=1,
        le=8,
        description="Processes of this machine that networks learn on, each with a core or a GPU of its own: more are "
        "faster where there is much to learn, and take memory each. 1: in the worker's child.",
    )
    training_device: DeviceName = Field(
        default="cpu",
        description="Where networks learn: `cuda` is a GPU a process, `auto` that where there are as many, else `cpu`.",
    )
