"""What the gateway is told by its environment, besides what every process is told."""

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import PlatformSettings


class GatewaySettings(PlatformSettings):
    """Settings of the gateway; times in seconds."""

    host: str = Field(default="127.0.0.1", description="Address that it listens on.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port that it listens on.")
    grpc_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the public gRPC API on the same address; where it is not given, there is none.",
    )
    bootstrap: bool = Field(default=True, description="Make a first manage key for the tenant `default`.")
    bootstrap_key: SecretStr | None = Field(
        default=None, min_length=1, description="That key; where it is not given, one is made in <home>/bootstrap.key."
    )
    draw_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Keys the draws of decisions; all gateways need the same. Where it is not given, one is made in "
        "<home>/draw.secret.",
    )
    refresh_interval: float = Field(default=1.0, gt=0, description="Between two readings of loops, aliases and keys.")
    models_interval: float = Field(default=0.25, gt=0, description="Between two looks at what the services have.")
    models_timeout: float = Field(
        default=1.0,
        gt=0,
        description="For a service to say what it has loaded, or it counts as away. Shorter: a frozen one holds "
        "decisions up for less, and a busy one is taken for frozen more easily.",
    )
    decide_timeout: float = Field(
        default=1.0,
        gt=0,
        description="For a model version to have decided, from when its context was read; later the fallback answers. "
        "Lower answers sooner where a service is frozen or much is asked at once, higher waits for slow media.",
    )
    stage_timeout: float = Field(default=2.0, gt=0, description="For one call of encoding, fusion or policy.")
    most_waiting: int = Field(
        default=4096,
        ge=1,
        description="Decisions that wait for the model services, by version: one more is refused with 503 and "
        "Retry-After. Lower refuses sooner, higher answers later.",
    )
    first_version_timeout: float = Field(
        default=30.0, ge=0, description="How long creating a loop waits until its first version can decide."
    )
    check_encoders: bool = Field(
        default=False,
        description="Refuse a loop whose pretrained encoder is not here: for a gateway on the machine of encoding and "
        "the trainer. Else the run that makes the loop's first version tells it.",
    )
    version_bytes: int = Field(
        default=1024 * 1024 * 1024, ge=1, description="Of a model version that is imported; more is refused with 413."
    )
    shadow_share: float = Field(
        default=0.025,
        gt=0,
        le=1,
        description="Of the time that shadows may take of the model services; higher scores more contexts, and slows "
        "decisions more where the services have no cores to spare.",
    )
    lookup_timeout: float = Field(
        default=0.5,
        gt=0,
        description="For the database to say whether an id was decided before; later, it is new. While it does not "
        "answer, a tenth of it.",
    )
    recent_answers_bytes: int = Field(
        default=64 * 1024 * 1024, ge=0, description="Memory for answers that a repeated decision gets again."
    )
    spool_folder: Path | None = Field(
        default=None, description="Of this replica alone, on a disk that outlives it; default: <home>/spool."
    )
    spool_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=0,
        description="Events that may wait there while Kafka is away: more is refused with 503, and decisions are made "
        "without being logged.",
    )
    spool_after: float = Field(
        default=0.2,
        ge=0.05,
        le=60,
        description="Seconds that a request waits for Kafka before its event is spooled: lower answers sooner when "
        "Kafka hangs, higher spools less when it is slow.",
    )
    shutdown_timeout: int = Field(default=3, ge=1, description="For requests under way when it is told to stop.")

    @property
    def grpc_address(self) -> str | None:
        """gRPC target that it listens on beside HTTP."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return None if self.grpc_port is None else f"{host}:{self.grpc_port}"

    @property
    def spool(self) -> Path:
        """Folder of the spool."""
        return self.spool_folder or self.home / "spool"
