"""`python health.py http://host:port/path` or `grpc://host:port`: exit status 0 where a service says that it serves."""

import os
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 3.0


def serves(address: str) -> bool:
    """Whether the service at the address answers, and well."""
    parts = urlsplit(address)
    if parts.scheme == "grpc":
        with _channel(parts.netloc) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - the address is our own command line's
        return bool(answer.status == 200)


def _channel(target: str) -> grpc.Channel:
    """As the service's own settings say it is reached."""
    names = ("AUTHORITY", "KEY", "CERTIFICATE")
    files = [os.environ.get(f"REWARDLOOP_GRPC_{name}") for name in names]
    given = [Path(file).read_bytes() for file in files if file]
    if not given:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*given))


if __name__ == "__main__":
    try:
        healthy = serves(sys.argv[1])
    except (OSError, grpc.RpcError) as error:
        sys.exit(f"{sys.argv[1]}: {type(error).__name__}")
    sys.exit(0 if healthy else f"{sys.argv[1]} does not serve")
