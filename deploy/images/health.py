"""`python health.py http://host:port/path` or `grpc://host:port`: exit status 0 where a service says that it serves."""

import sys
import urllib.request
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 3.0


def serves(address: str) -> bool:
    """Whether the service at the address answers, and well."""
    parts = urlsplit(address)
    if parts.scheme == "grpc":
        with grpc.insecure_channel(parts.netloc) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - the address is our own command line's
        return bool(answer.status == 200)


if __name__ == "__main__":
    try:
        healthy = serves(sys.argv[1])
    except (OSError, grpc.RpcError) as error:
        sys.exit(f"{sys.argv[1]}: {type(error).__name__}")
    sys.exit(0 if healthy else f"{sys.argv[1]} does not serve")
