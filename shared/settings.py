"""What every process of the platform is told by its environment (prefix REWARDLOOP_); a service adds its own."""

import os
import sys
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import Field, FilePath, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.domain import Retention
from shared.eventlog.settings import KafkaSettings

DAY: Final = 86_400_000_000

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def told(settings: type[SettingsT]) -> SettingsT:
    """What the environment says; a process that is told nonsense ends with a line for each such setting."""
    try:
        return settings()
    except ValidationError as error:
        # Without what was given: it may be a secret.
        sys.exit("\n".join(_refusal(settings, str(one["loc"][0]), one["msg"]) for one in error.errors() if one["loc"]))
    except SettingsError as error:
        sys.exit(str(error))


def _refusal(settings: type[BaseSettings], name: str, message: str) -> str:
    variable = f"{settings.model_config.get('env_prefix', '')}{name}".upper()
    field = settings.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"{variable}: {message}{meaning}"


DeviceName = Literal["cpu", "cuda", "auto"]


class PlatformSettings(KafkaSettings):
    """Where the state stands and where the services meet. Defaults are the embedded profile's."""

    model_config = SettingsConfigDict(env_prefix="REWARDLOOP_", frozen=True, extra="ignore")

    home: Path = Field(default=Path("var"), description="Folder of all state in the embedded profile.")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite below `home`.")
    broker_url: str | None = Field(
        default=None,
        pattern="^rediss?://",
        description="URL of the Redis that Celery's messages go through; default: files below `home`.",
    )
    results_url: str | None = Field(
        default=None,
        description="Celery's result backend; default: `broker_url` where there is one, else SQLite below `home`.",
    )
    encoding_address: str = Field(default="unix:var/run/encoding.sock", description="gRPC target of encoding.")
    fusion_address: str = Field(default="unix:var/run/fusion.sock", description="gRPC target of fusion.")
    policy_address: str = Field(default="unix:var/run/policy.sock", description="gRPC target of policy.")
    grpc_certificate: FilePath | None = Field(
        default=None,
        description="PEM file of this process's certificate, for mutual TLS between the services: it names the host "
        "by which others call it. With grpc_key and grpc_authority, for every service, or for none.",
    )
    grpc_key: FilePath | None = Field(default=None, description="PEM file of its key.")
    grpc_authority: FilePath | None = Field(
        default=None,
        validate_default=True,
        description="PEM file of the authority that has signed the certificates of all services.",
    )
    encoder_folder: Path | None = Field(
        default=None,
        description="Pretrained encoders that loops may name, a folder each; default: `encoders` below `home`.",
    )
    versions_kept: int = Field(
        default=20,
        ge=1,
        description="Newest model versions of a loop whose weights are kept whether anything needs them or not; fewer "
        "take less room. What an alias, a rollout, a logged decision or work under way needs is kept besides.",
    )
    versions_kept_days: float = Field(
        default=1.0,
        ge=0.05,
        description="How long weights are kept at least once nothing needs them; longer leaves more time to think "
        "again, and must cover the longest that a run takes to publish.",
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="The least that is logged: DEBUG, INFO, WARNING or ERROR.",
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address on which the process tells its metrics.")
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port on which the process tells its metrics to Prometheus; 0: none. The gateway has them at "
        "`/metrics`, beside its API. `rewardloop up` gives its processes this port and those behind it.",
    )
    tracing_endpoint: str | None = Field(
        default_factory=lambda: os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None,
        pattern="^https?://",
        description="Base URL of the OTLP receiver over HTTP that takes traces, such as http://127.0.0.1:4318; not "
        "given: what OTEL_EXPORTER_OTLP_ENDPOINT says, else nothing is traced. Headers, certificates and compression "
        "are told by OpenTelemetry's own variables.",
    )
    tracing_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Of the requests whose caller sends no `traceparent`, the share that is traced: higher shows more "
        "and costs more. A caller that sends one decides by its sampled flag.",
    )

    @field_validator("grpc_authority")
    @classmethod
    def _all_of_grpc_or_none(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        files = (info.data.get("grpc_certificate"), info.data.get("grpc_key"), authority)
        if any(files) and not all(files):
            raise ValueError("grpc_certificate, grpc_key and grpc_authority belong together: give all three, or none")
        return authority

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the application's database."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'rewardloop.db'}"

    @property
    def log_folder(self) -> Path:
        """Folder of the local event log: one file a topic."""
        return self.home / "eventlog"

    @property
    def retention(self) -> Retention:
        """Which weights are kept."""
        return Retention(self.versions_kept, round(self.versions_kept_days * DAY))

    @property
    def artifact_folder(self) -> Path:
        """Folder of the artifact store."""
        return self.home / "artifacts"

    @property
    def encoders(self) -> Path:
        """Folder of pretrained encoders."""
        return self.encoder_folder or self.home / "encoders"

    @property
    def broker_folder(self) -> Path:
        """Folder of Celery's filesystem broker."""
        return self.home / "broker"

    @property
    def results(self) -> str:
        """Celery's result backend: never the application's database."""
        return self.results_url or self.broker_url or f"db+sqlite:///{self.home.resolve() / 'celery-results.db'}"


class ModelServiceSettings(PlatformSettings):
    """The platform's settings and those of encoding, fusion and policy alike."""

    model_device: DeviceName = Field(
        default="cpu",
        description="Where the model services compute: `cuda` is the first GPU that a process sees, `auto` that where "
        "there is one, else `cpu`.",
    )
    model_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of encoders' and fusion's products. `bfloat16` is faster on a GPU; a state is then made "
        "again to 0.05, not to 0.0001, and probabilities move by some hundredths.",
    )
