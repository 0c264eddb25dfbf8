import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from shared.grpc import open_channel
from shared.pb.serving.v1 import serving_pb2, serving_pb2_grpc


class Flaky(serving_pb2_grpc.ModelServiceServicer):
    """Is not available for as many calls as it is told."""

    def __init__(self) -> None:
        self.failures, self.calls = 0, 0

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: serving_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> serving_pb2.ListModelsResponse:
        self.calls += 1
        if self.calls <= self.failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "for now")
        return serving_pb2.ListModelsResponse()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"unix:{Path(folder) / 'socket'}"


async def start(address: str, servicer: Flaky, status: health.aio.HealthServicer | None = None) -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    serving_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    if status is not None:
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_insecure_port(address)
    await server.start()
    return server


async def test_a_call_is_repeated_while_the_service_is_not_available(address: str) -> None:
    flaky = Flaky()
    server = await start(address, flaky)
    async with open_channel(address) as channel:
        stub = serving_pb2_grpc.ModelServiceStub(channel)
        flaky.failures = 2
        await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)
        assert flaky.calls == 3
        flaky.calls, flaky.failures = 0, 9
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert flaky.calls == 3
    await server.stop(None)


async def test_a_service_that_comes_back_is_found(address: str) -> None:
    async with open_channel(address) as channel:
        stub = serving_pb2_grpc.ModelServiceStub(channel)
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)
            server = await start(address, Flaky())
            await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10, wait_for_ready=True)
            await server.stop(None)


async def test_replicas_share_the_calls_and_one_that_dies_costs_none() -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    replicas = [Flaky(), Flaky()]
    servers = [await start(address, replica) for address, replica in zip(addresses, replicas, strict=True)]
    async with open_channel(f"ipv4:{','.join(addresses)}") as channel:
        stub = serving_pb2_grpc.ModelServiceStub(channel)
        await until_called(stub, replicas[0])
        await until_called(stub, replicas[1])
        await servers[0].stop(None)
        for _ in range(50):
            await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)
    await servers[1].stop(None)
    assert replicas[0].calls + replicas[1].calls > 50


async def test_a_replica_is_called_while_it_says_that_it_serves() -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    replicas, statuses = [Flaky(), Flaky()], [health.aio.HealthServicer(), health.aio.HealthServicer()]
    await statuses[0].set("", health_pb2.HealthCheckResponse.SERVING)
    await statuses[1].set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    servers = [await start(*of) for of in zip(addresses, replicas, statuses, strict=True)]
    async with open_channel(f"ipv4:{','.join(addresses)}") as channel:
        stub = serving_pb2_grpc.ModelServiceStub(channel)
        for _ in range(20):
            await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)
        assert [replica.calls for replica in replicas] == [20, 0]
        await statuses[1].set("", health_pb2.HealthCheckResponse.SERVING)
        await until_called(stub, replicas[1])
    for server in servers:
        await server.stop(None)


async def until_called(stub: serving_pb2_grpc.ModelServiceStub, replica: Flaky) -> None:
    """Calls until this one has answered."""
    async with asyncio.timeout(30):
        while not replica.calls:
            await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def test_channels_need_no_torch() -> None:
    code = "import sys, shared.grpc; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
