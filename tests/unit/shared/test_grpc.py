import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

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


async def start(address: str, servicer: Flaky) -> grpc.aio.Server:
    server = grpc.aio.server()
    serving_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
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


def test_channels_need_no_torch() -> None:
    code = "import sys, shared.grpc; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
