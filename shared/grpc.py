"""Both ends of gRPC between services: limits, mutual TLS, retries, and channels."""

import json
from dataclasses import dataclass
from typing import Final

import grpc

from shared.settings import PlatformSettings

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

MESSAGE_LIMITS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

# Every RPC may be repeated: it changes nothing, and a decision's draw is keyed by its seed.
SERVICE_CONFIG: Final = json.dumps(
    {
        # Over all addresses that a name has; a replica that does not serve yet, or any more, is left out.
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)

CHANNEL_OPTIONS: Final = (
    *MESSAGE_LIMITS,
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.enable_http_proxy", 0),
    # A service that came back is found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True)
class MutualTls:
    """A process's own certificate with its key, and whom it trusts in return; PEM."""

    certificate: bytes
    key: bytes
    authority: bytes

    def of_client(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)

    def of_server(self) -> grpc.ServerCredentials:
        """A caller without a certificate of the authority is refused."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.authority, require_client_auth=True)

    def of_public_server(self) -> grpc.ServerCredentials:
        """No certificate is asked of callers."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)])


def mutual_tls(settings: PlatformSettings) -> MutualTls | None:
    """As the settings' files have it at this moment; None: connections between the services are plain."""
    files = (settings.grpc_certificate, settings.grpc_key, settings.grpc_authority)
    given = [file.read_bytes() for file in files if file is not None]
    return MutualTls(*given) if given else None


def open_channel(address: str, tls: MutualTls | None = None) -> grpc.aio.Channel:
    """A channel to a gRPC target (`host:port` or `unix:path`); connects when first used, and again by itself."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, tls.of_client(), options=CHANNEL_OPTIONS)


def open_blocking_channel(address: str, tls: MutualTls | None = None) -> grpc.Channel:
    """The same for callers that have a thread of their own."""
    if tls is None:
        return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(address, tls.of_client(), options=CHANNEL_OPTIONS)


def listen(server: grpc.aio.Server, address: str, tls: MutualTls | None = None) -> int:
    """The port, where the address has one.

    Raises:
        RuntimeError: it cannot be listened on.
    """
    return server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls.of_server())
