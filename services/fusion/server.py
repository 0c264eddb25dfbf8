"""The fusion service over gRPC: from protobuf, to the version's fusion, to protobuf.

Shapes: B decisions, M modalities, D embedding, S state.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import grpc
import numpy as np
import torch
from google.protobuf.message import Message
from torch import Tensor, nn

from services.fusion.attributing import modality_shares
from services.fusion.settings import FusionServiceSettings
from shared import wire
from shared.db.engine import open_engine
from shared.grpc import mutual_tls
from shared.model_metrics import ModelMetrics, Observed, Rows, WorkingThreads
from shared.model_server import serve_models
from shared.networks.parts import build_fusion, load_module
from shared.networks.placement import ON_CPU, Placement
from shared.pb.fusion.v1 import fusion_pb2, fusion_pb2_grpc
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import LoadedVersions
from shared.registry.manifest import Architecture
from shared.tracing import open_tracing

SERVICE = "rewardloop.fusion.v1.FusionService"
ROWS: Final[Rows] = dict.fromkeys(("Fuse", "Attribute"), lambda request: request.embeddings.shape[0])


def load_fusion(architecture: Architecture, data: bytes, placement: Placement = ON_CPU) -> nn.Module:
    """The fusion of a version from its file of weights.

    Raises:
        WeightsError: it is not servable.
    """
    return load_module(build_fusion(architecture), data).to(placement.device)


class FusionServicer(fusion_pb2_grpc.FusionServiceServicer):
    """Answers Fuse and Attribute; the work is done in a thread of its own, never on the event loop."""

    def __init__(self, loaded: LoadedVersions[nn.Module], executor: ThreadPoolExecutor, placement: Placement) -> None:
        self._loaded = loaded
        self._executor = executor
        self._placement = placement

    async def Fuse(  # noqa: N802 - gRPC's name
        self, request: fusion_pb2.FuseRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> fusion_pb2.FuseResponse:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._fuse, request)

    def _fuse(self, request: fusion_pb2.FuseRequest) -> fusion_pb2.FuseResponse:
        version = self._loaded.get(wire.model_ref_from_pb(request.model))
        embeddings_BMD, present_BM = _inputs(request, version.manifest.architecture)
        send, fetch = self._placement.send, self._placement.fetch
        with torch.inference_mode(), self._placement.arithmetic():
            states_BS = fetch(version.part(send(embeddings_BMD), send(present_BM)))
        return fusion_pb2.FuseResponse(states=wire.tensor_to_pb(states_BS.numpy()))

    async def Attribute(  # noqa: N802 - gRPC's name
        self, request: fusion_pb2.AttributeRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> fusion_pb2.AttributeResponse:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._attribute, request)

    def _attribute(self, request: fusion_pb2.AttributeRequest) -> fusion_pb2.AttributeResponse:
        version = self._loaded.get(wire.model_ref_from_pb(request.model))
        architecture = version.manifest.architecture
        embeddings_BMD, present_BM = _inputs(request, architecture)
        gradients = wire.floats_from_pb(request.gradients, 2)
        expected = (len(embeddings_BMD), architecture.state_width)
        if gradients.shape != expected:
            raise wire.WireError(f"gradients are {list(gradients.shape)}, expected {list(expected)}")
        send = self._placement.send
        shares_BM = modality_shares(
            version.part, send(embeddings_BMD), send(present_BM), send(torch.from_numpy(gradients.copy()))
        )
        return fusion_pb2.AttributeResponse(shares=wire.tensor_to_pb(shares_BM.cpu().numpy()))


def _inputs(
    request: fusion_pb2.FuseRequest | fusion_pb2.AttributeRequest, architecture: Architecture
) -> tuple[Tensor, Tensor]:
    """Embeddings [B, M, D] and bool [B, M], held against the version's shapes."""
    embeddings = wire.floats_from_pb(request.embeddings, 3)
    present = wire.tensor_from_pb(request.present, "bool", 2).astype(np.bool_)
    expected = (len(embeddings), len(architecture.modalities), architecture.encoded_width)
    if embeddings.shape != expected or present.shape != expected[:2]:
        raise wire.WireError(
            f"embeddings are {list(embeddings.shape)} and present {list(present.shape)}, expected {list(expected)}"
        )
    return torch.from_numpy(embeddings.copy()), torch.from_numpy(present)


async def run(settings: FusionServiceSettings, stop: asyncio.Event, metrics: ModelMetrics) -> None:
    """Serves until `stop`.

    Raises:
        NoDeviceError: the GPU that the settings ask for is not here.
    """
    store, placement = ArtifactStore(settings.artifact_folder), Placement.of(settings)
    build = partial(load_fusion, placement=placement)
    loaded = LoadedVersions(open_engine(settings.database), store, "fusion", build)
    with WorkingThreads(1, "fusion", metrics) as executor:
        servicer = FusionServicer(loaded, executor, placement)

        def add_service(server: grpc.aio.Server) -> None:
            fusion_pb2_grpc.add_FusionServiceServicer_to_server(servicer, server)

        observed = Observed("fusion", ROWS, metrics, open_tracing(settings, "fusion"))
        await serve_models(
            settings.fusion_address, SERVICE, add_service, loaded, stop, observed, tls=mutual_tls(settings)
        )
