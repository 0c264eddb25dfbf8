"""What the three model services have in common: a gRPC server that says what it has loaded, and keeps loading."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

import grpc
import structlog
import torch
import uvloop
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from shared import wire
from shared.garbage import collect_seldom
from shared.grpc import MESSAGE_LIMITS, MutualTls, listen
from shared.lifeline import lifeline_of, watch_lifeline
from shared.metrics import serve_metrics
from shared.model_metrics import ModelMetrics, Observed
from shared.networks.placement import NoDeviceError
from shared.pb.serving.v1 import serving_pb2, serving_pb2_grpc
from shared.registry.loading import Loaded, LoadedVersions, ModelNotLoadedError
from shared.settings import PlatformSettings
from shared.telemetry import configure_logging

POLL_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 2.0
# Without SO_REUSEPORT a second process on the same port fails to start; with it, it would take half of the calls.
SERVER_OPTIONS: Final = (*MESSAGE_LIMITS, ("grpc.so_reuseport", 0))

NOT_OF_THE_VERSION: Final = "the request does not fit the model version; the service's log says why"
FAILED: Final = "the call failed; the service's log says why"

logger: Final = structlog.get_logger(__name__)
Context = grpc.aio.ServicerContext[Message, Message]
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
T = TypeVar("T")


class ModelService(serving_pb2_grpc.ModelServiceServicer):
    """Says which model versions can be served here."""

    def __init__(self, loaded: LoadedVersions[T], head_sequence: Callable[[Loaded[T]], int] | None) -> None:
        self._loaded = loaded
        self._head_sequence = head_sequence

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: serving_pb2.ListModelsRequest, context: Context
    ) -> serving_pb2.ListModelsResponse:
        versions = self._loaded.versions
        return serving_pb2.ListModelsResponse(
            models=map(wire.model_ref_to_pb, versions),
            head_sequences=map(self._head_sequence, versions.values()) if self._head_sequence else (),
        )


class StatusOfErrors(grpc.aio.ServerInterceptor):
    """The one place where our errors become gRPC statuses."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], "Awaitable[grpc.RpcMethodHandler[RequestT, ResponseT] | None]"
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[RequestT, ResponseT] | None":
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        # The stubs know blocking servers only.
        behaviour = cast("Callable[[RequestT, Context], Awaitable[ResponseT]]", handler.unary_unary)

        async def call(request: RequestT, context: Context) -> ResponseT:
            try:
                return await behaviour(request, context)
            except ModelNotLoadedError as error:
                return await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            except wire.WireError as error:
                return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except ValueError:
                logger.warning("call_refused", method=handler_call_details.method, exc_info=True)
                return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, NOT_OF_THE_VERSION)
            except grpc.aio.AbortError:
                raise
            except Exception:
                logger.exception("call_failed", method=handler_call_details.method)
                return await context.abort(grpc.StatusCode.INTERNAL, FAILED)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


async def serve_models(
    address: str,
    service_name: str,
    add_service: Callable[[grpc.aio.Server], None],
    loaded: LoadedVersions[T],
    stop: asyncio.Event,
    observed: Observed,
    head_sequence: Callable[[Loaded[T]], int] | None = None,
    *,
    tls: MutualTls | None,
) -> None:
    """Serves until `stop`, with health, reflection and ListModels beside the service; ready after the first look.

    Raises:
        RuntimeError: the address cannot be listened on.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=[observed, StatusOfErrors()])
    observed.watch_versions(lambda: len(loaded.versions))
    add_service(server)
    serving_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(loaded, head_sequence), server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection(_names(service_name), server)
    await status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    _make_socket_folder(address)
    listen(server, address, tls)
    await server.start()
    try:
        await asyncio.to_thread(loaded.refresh)
        collect_seldom()
        await status.set("", health_pb2.HealthCheckResponse.SERVING)
        while not await _stopped_within(stop, POLL_SECONDS):
            await asyncio.to_thread(loaded.refresh)
    finally:
        await server.stop(GRACE_SECONDS)


def _make_socket_folder(address: str) -> None:
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:").removeprefix("//")).parent.mkdir(parents=True, exist_ok=True)


def _names(service_name: str) -> Sequence[str]:
    return (service_name, "rewardloop.serving.v1.ModelService", health.SERVICE_NAME, reflection.SERVICE_NAME)


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


def run_process(
    service: str, settings: PlatformSettings, serve: Callable[[asyncio.Event, ModelMetrics], Awaitable[None]]
) -> None:
    """A process that serves until SIGTERM or SIGINT, or until its supervisor is gone; without the device that it is to
    compute on it says so, and ends."""
    watch_lifeline(lifeline_of(os.environ))
    configure_logging(settings.log_level, service)
    metrics = ModelMetrics(CollectorRegistry())
    serve_metrics(settings, metrics.registry)
    # The processes share the machine's cores; batches, not threads, are what makes a model fast.
    torch.set_num_threads(1)

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(stop, metrics)

    try:
        uvloop.run(main())
    except NoDeviceError as error:
        sys.exit(str(error))
