"""What a process is told of its event log: a Kafka cluster, or nothing, and then the log is local."""

from typing import Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

# One or more, of which a port and an IPv6 address in brackets may be part.
SERVERS: Final = r"^(\[[0-9a-fA-F:]+\]|[^,:\s\[\]]+)(:[0-9]{1,5})?(,(\[[0-9a-fA-F:]+\]|[^,:\s\[\]]+)(:[0-9]{1,5})?)*$"
SECURITY: Final = ("kafka_security", "kafka_sasl", "kafka_ssl")
# The longest pause between two tries to reach a broker: kafka-python's 30 s would be felt after an outage.
RECONNECT_MS: Final = 500


class KafkaSettings(BaseSettings):
    """How to reach Kafka and what its topics are made with; kafka-python's names behind `kafka_`."""

    kafka_servers: str | None = Field(
        default=None,
        pattern=SERVERS,
        description="host:port of some brokers, separated by commas; not given: the local log below `home`.",
    )
    kafka_topic_prefix: str = Field(
        default="",
        pattern=r"^[a-zA-Z0-9._-]{0,64}$",
        description="Stands before the name of each topic, so that several platforms can share a cluster.",
    )
    kafka_partitions: int = Field(
        default=6,
        ge=1,
        le=512,
        description="Of decisions, feedback and experiences, when `rewardloop init` makes them: as many joiners can "
        "share the work. They cannot be changed later.",
    )
    kafka_replicas: int | None = Field(
        default=None, ge=1, le=9, description="Copies of each topic that is made; not given: what the cluster says."
    )
    kafka_retention_days: float = Field(
        default=7.0, gt=0, le=36_500, description="How long a topic that is made keeps its records."
    )
    kafka_timeout: float = Field(
        default=10.0, ge=0.05, le=300, description="Seconds in which the cluster has to answer; later, it is away."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Whether connections are encrypted (SSL) and ask for a user (SASL)."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How a user is asked for."
    )
    kafka_sasl_plain_username: str | None = Field(default=None, description="That user.")
    kafka_sasl_plain_password: SecretStr | None = Field(default=None, description="Its password.")
    kafka_ssl_cafile: str | None = Field(default=None, description="PEM file of whom to trust.")
    kafka_ssl_certfile: str | None = Field(default=None, description="PEM file of this client's certificate.")
    kafka_ssl_keyfile: str | None = Field(default=None, description="PEM file of its key.")
    kafka_ssl_password: SecretStr | None = Field(default=None, description="Opens that key.")
    kafka_ssl_check_hostname: bool = Field(
        default=True,
        description="Whether a broker's certificate has to name its host; false trusts any that is signed.",
    )

    def kafka_client(self, timeout: float | None = None) -> dict[str, object]:
        """What a client of kafka-python is made with, where `kafka_servers` is given.

        `timeout` takes the place of `kafka_timeout` once it has connected.
        """
        assert self.kafka_servers is not None
        milliseconds = round((timeout or self.kafka_timeout) * 1000)
        first = round(self.kafka_timeout * 1000)
        return {
            "bootstrap_servers": self.kafka_servers.split(","),
            "client_id": "rewardloop",
            "bootstrap_timeout_ms": first,
            "request_timeout_ms": milliseconds,
            "reconnect_backoff_max_ms": RECONNECT_MS,
            **self._security(),
        }

    def _security(self) -> dict[str, object]:
        """The security settings that are given, by kafka-python's names."""
        names = [name for name in KafkaSettings.model_fields if name.startswith(SECURITY)]
        given = {name.removeprefix("kafka_"): getattr(self, name) for name in names}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in given.items()
            if value is not None
        }
