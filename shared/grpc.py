"""The client's side of gRPC: limits both ends share, retries, and channels."""

import json
from typing import Final

import grpc

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

MESSAGE_LIMITS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

# Every RPC may be repeated: it changes nothing, and a decision's draw is keyed by its seed.
SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
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


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to a gRPC target (`host:port` or `unix:path`); connects when first used, and again by itself."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


def open_blocking_channel(address: str) -> grpc.Channel:
    """The same for callers that have a thread of their own."""
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
