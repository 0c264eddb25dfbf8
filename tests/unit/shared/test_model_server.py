import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from shared import wire
from shared.grpc import open_channel
from shared.model_server import FAILED, NOT_OF_THE_VERSION, StatusOfErrors
from shared.pb.serving.v1 import serving_pb2, serving_pb2_grpc
from shared.registry.loading import ModelNotLoadedError


class Raises(serving_pb2_grpc.ModelServiceServicer):
    """Answers nothing but its error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: serving_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> serving_pb2.ListModelsResponse:
        raise self._error


@asynccontextmanager
async def channel_to(error: Exception) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[StatusOfErrors()])
    serving_pb2_grpc.add_ModelServiceServicer_to_server(Raises(error), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'socket'}"
        server.add_insecure_port(address)
        await server.start()
        async with open_channel(address) as channel:
            yield channel
        await server.stop(None)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ModelNotLoadedError("version 7 is not loaded"), "FAILED_PRECONDITION", "version 7 is not loaded"),
        (wire.WireError("tensor is absent"), "INVALID_ARGUMENT", "tensor is absent"),
        (ValueError("of somebody's age: 31"), "INVALID_ARGUMENT", NOT_OF_THE_VERSION),
        (RuntimeError("/root/secret"), "INTERNAL", FAILED),
        (MemoryError("at 0x7f"), "INTERNAL", FAILED),
    ],
)
async def test_errors_become_statuses_that_tell_no_secret(error: Exception, code: str, text: str) -> None:
    async with channel_to(error) as channel:
        stub = serving_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListModels(serving_pb2.ListModelsRequest(), timeout=10)
    assert (raised.value.code().name, raised.value.details()) == (code, text)


async def test_a_status_that_a_service_chose_itself_passes() -> None:
    async with channel_to(RuntimeError()) as channel:
        request = health_pb2.HealthCheckRequest(service="unknown")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
