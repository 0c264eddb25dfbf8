"""The encoding service over gRPC: from protobuf, to encoding, to protobuf."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import grpc
from google.protobuf.message import Message

from services.encoding.encoding import Encoders, encode, load_encoder
from services.encoding.settings import EncodingSettings
from shared import wire
from shared.db.engine import open_engine
from shared.grpc import mutual_tls
from shared.model_metrics import ModelMetrics, Observed, Rows, WorkingThreads
from shared.model_server import serve_models
from shared.networks.media_decoder import Decode, MediaDecoder
from shared.networks.placement import Placement
from shared.networks.preparation import Fetch
from shared.networks.trunks import Trunks
from shared.pb.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import LoadedVersions
from shared.tracing import open_tracing

SERVICE = "rewardloop.encoding.v1.EncodingService"
ROWS: Final[Rows] = {"Encode": lambda request: len(request.contexts)}


class EncodingServicer(encoding_pb2_grpc.EncodingServiceServicer):
    """Answers Encode; the work is done in threads of its own, never on the event loop."""

    def __init__(
        self, loaded: LoadedVersions[Encoders], decode: Decode, fetch: Fetch, executor: ThreadPoolExecutor
    ) -> None:
        self._loaded = loaded
        self._decode = decode
        self._fetch = fetch
        self._executor = executor

    async def Encode(  # noqa: N802 - gRPC's name
        self, request: encoding_pb2.EncodeRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> encoding_pb2.EncodeResponse:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, request)

    def _encode(self, request: encoding_pb2.EncodeRequest) -> encoding_pb2.EncodeResponse:
        version = self._loaded.get(wire.model_ref_from_pb(request.model))
        contexts = [wire.context_from_pb(one) for one in request.contexts]
        encoded = encode(version, contexts, wire.actions_from_pb(request.actions), self._decode, self._fetch)
        return encoding_pb2.EncodeResponse(
            modalities=version.manifest.architecture.modalities,
            embeddings=wire.tensor_to_pb(encoded.embeddings.numpy()),
            present=wire.tensor_to_pb(encoded.present.numpy()),
            action_embeddings=None if encoded.actions is None else wire.tensor_to_pb(encoded.actions.numpy()),
            refusals=[
                encoding_pb2.Refusal(row=one.row, modality=one.modality, reason=one.reason) for one in encoded.refusals
            ],
        )


async def run(settings: EncodingSettings, stop: asyncio.Event, metrics: ModelMetrics) -> None:
    """Serves until `stop`.

    Raises:
        NoDeviceError: the GPU that the settings ask for is not here.
    """
    store, placement = ArtifactStore(settings.artifact_folder), Placement.of(settings)
    build = partial(load_encoder, trunks=Trunks(settings.encoders, placement), placement=placement)
    loaded = LoadedVersions(open_engine(settings.database), store, "encoding", build)
    with MediaDecoder() as decode, WorkingThreads(settings.encoding_threads, "encoding", metrics) as executor:
        servicer = EncodingServicer(loaded, decode, store.get, executor)
        await asyncio.to_thread(decode.warm_up)

        def add_service(server: grpc.aio.Server) -> None:
            encoding_pb2_grpc.add_EncodingServiceServicer_to_server(servicer, server)

        observed = Observed("encoding", ROWS, metrics, open_tracing(settings, "encoding"))
        await serve_models(
            settings.encoding_address, SERVICE, add_service, loaded, stop, observed, tls=mutual_tls(settings)
        )
