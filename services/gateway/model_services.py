"""The model services as the gateway sees them: what they have loaded, and their calls, in batches."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

import grpc
import numpy as np
import structlog

from services.gateway.stages import (
    Candidates,
    Choice,
    Encoded,
    Explained,
    Refused,
    choices_from_pb,
    encoded_from_pb,
    exploration_to_pb,
    importance_from_pb,
    rows_of,
)
from shared import wire
from shared.domain import Action, Context, Floats, ModelRef
from shared.loop_settings import LoopSettings
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.encoding.v1.encoding_pb2_grpc import EncodingServiceStub
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.fusion.v1.fusion_pb2_grpc import FusionServiceStub
from shared.pb.policy.v1 import policy_pb2
from shared.pb.policy.v1.policy_pb2_grpc import PolicyServiceStub
from shared.pb.serving.v1 import serving_pb2
from shared.pb.serving.v1.serving_pb2_grpc import ModelServiceStub
from shared.tracing import METADATA_KEY, OFF, Tracing, shared_spans

log: Final = structlog.get_logger(__name__)

Stage = Literal["encoding", "fusion", "policy"]
STAGES: Final[tuple[Stage, ...]] = ("encoding", "fusion", "policy")
Metadata = tuple[tuple[str, str], ...]
RequestT = TypeVar("RequestT", contravariant=True)
ResponseT = TypeVar("ResponseT", covariant=True)
AnswerT = TypeVar("AnswerT")


class Rpc(Protocol[RequestT, ResponseT]):
    """One method of a gRPC stub."""

    def __call__(
        self, request: RequestT, /, *, timeout: float, metadata: Metadata | None = None
    ) -> Awaitable[ResponseT]: ...


class NotLoadedError(Exception):
    """A service does not have the version (any more)."""


class ModelsUnavailableError(Exception):
    """A service did not answer, or not with what its contract promises."""


@dataclass(frozen=True, slots=True)
class Rpcs:
    """Everything that the gateway calls."""

    list_models: Mapping[Stage, Rpc[serving_pb2.ListModelsRequest, serving_pb2.ListModelsResponse]]
    encode: Rpc[encoding_pb2.EncodeRequest, encoding_pb2.EncodeResponse]
    fuse: Rpc[fusion_pb2.FuseRequest, fusion_pb2.FuseResponse]
    decide: Rpc[policy_pb2.DecideRequest, policy_pb2.DecideResponse]
    attribute_to_state: Rpc[policy_pb2.AttributeRequest, policy_pb2.AttributeResponse]
    attribute_to_modalities: Rpc[fusion_pb2.AttributeRequest, fusion_pb2.AttributeResponse]

    @classmethod
    def over(cls, channels: Mapping[Stage, grpc.aio.Channel]) -> "Rpcs":
        return cls(
            list_models={stage: ModelServiceStub(channel).ListModels for stage, channel in channels.items()},
            encode=EncodingServiceStub(channels["encoding"]).Encode,
            fuse=FusionServiceStub(channels["fusion"]).Fuse,
            decide=PolicyServiceStub(channels["policy"]).Decide,
            attribute_to_state=PolicyServiceStub(channels["policy"]).Attribute,
            attribute_to_modalities=FusionServiceStub(channels["fusion"]).Attribute,
        )


class ModelServices:
    """Knows which versions all three services have, and calls them under a deadline each.

    A circuit breaker a service: while it does not answer, calls to it fail at once, those under way too; asking it what
    it has loaded, again and again, is what closes the breaker.
    """

    def __init__(self, rpcs: Rpcs, stage_timeout: float, list_timeout: float, tracing: Tracing = OFF) -> None:
        self._rpcs = rpcs
        self._stage_timeout = stage_timeout
        self._list_timeout = list_timeout
        self._tracing = tracing
        # None: the service does not answer, its breaker is open.
        self.loaded: dict[Stage, frozenset[ModelRef] | None] = dict.fromkeys(STAGES)
        # How the calls under way are cut off.
        self._cancels: dict[Stage, set[Callable[[], bool]]] = {stage: set() for stage in STAGES}

    @property
    def answer(self) -> bool:
        """Whether all of them answered when last asked."""
        return None not in self.loaded.values()

    def have(self, ref: ModelRef) -> bool:
        """Whether all of them had the version when last asked."""
        return all(refs is not None and ref in refs for refs in self.loaded.values())

    async def look(self) -> None:
        """Asks all of them what they have loaded."""
        await asyncio.gather(*map(self._look_at, STAGES))

    async def keep_looking(self, interval: float) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(interval)

    async def head_sequence(self, ref: ModelRef) -> int | None:
        """The last experience that the version's head has learned by now; None where policy does not tell."""
        try:
            answer = await self._rpcs.list_models["policy"](serving_pb2.ListModelsRequest(), timeout=self._list_timeout)
        except grpc.aio.AioRpcError:
            return None
        heads = dict(zip(map(wire.model_ref_from_pb, answer.models), answer.head_sequences, strict=False))
        return heads.get(ref)

    async def _look_at(self, stage: Stage) -> None:
        try:
            rpc = self._rpcs.list_models[stage]
            answer = await rpc(serving_pb2.ListModelsRequest(), timeout=self._list_timeout)
            self.loaded[stage] = frozenset(map(wire.model_ref_from_pb, answer.models))
        except grpc.aio.AioRpcError as error:
            self._give_up(stage, error)

    def _give_up(self, stage: Stage, error: grpc.aio.AioRpcError) -> None:
        if self.loaded[stage] is not None:
            log.warning("service does not answer", stage=stage, code=error.code().name)
        self.loaded[stage] = None
        for cancel in self._cancels[stage]:
            cancel()

    async def _call_for(
        self,
        sampled: Sequence[str],
        stage: Stage,
        rpc: Rpc[RequestT, ResponseT],
        request: RequestT,
        decode: Callable[[ResponseT], AnswerT],
    ) -> AnswerT:
        """The same, with a span in the trace of each decision that is sampled; the service goes on with those."""
        if not sampled:
            return await self._call(stage, rpc, request, decode)
        with shared_spans(self._tracing, f"call {stage}", sampled, "client") as spans:
            return await self._call(stage, rpc, request, decode, ((METADATA_KEY, ",".join(spans)),))

    async def _call(
        self,
        stage: Stage,
        rpc: Rpc[RequestT, ResponseT],
        request: RequestT,
        decode: Callable[[ResponseT], AnswerT],
        metadata: Metadata | None = None,
    ) -> AnswerT:
        """The decoded answer; a service that fails or breaks its contract is one that is not available."""
        if self.loaded[stage] is None:
            raise ModelsUnavailableError
        call = asyncio.ensure_future(rpc(request, timeout=self._stage_timeout, metadata=metadata))
        self._cancels[stage].add(call.cancel)
        try:
            return decode(await call)
        except asyncio.CancelledError:
            # Not this task but the call: the breaker has opened.
            if call.cancelled() and self.loaded[stage] is None:
                raise ModelsUnavailableError from None
            raise
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                raise NotLoadedError from error
            log.warning("service call failed", stage=stage, code=error.code().name)
            # One that is late has much to do, or is frozen: asking it what it has loaded tells which.
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                self._give_up(stage, error)
            raise ModelsUnavailableError from error
        except wire.WireError as error:
            log.warning("service breaks its contract", stage=stage, reason=str(error))
            raise ModelsUnavailableError from error
        finally:
            self._cancels[stage].discard(call.cancel)

    async def encode(
        self, ref: ModelRef, contexts: Sequence[Context], actions: Sequence[Action], sampled: Sequence[str] = ()
    ) -> tuple[list[Encoded | Refused], Sequence[Floats]]:
        """One result a context, and the embedding [G] of each action; none where the version does not read them.

        Here as below, `sampled` are the places in traces of the decisions that it is for.
        """
        request = encoding_pb2.EncodeRequest(
            model=wire.model_ref_to_pb(ref),
            contexts=map(wire.context_to_pb, contexts),
            actions=map(wire.action_to_pb, actions),
        )
        return await self._call_for(
            sampled,
            "encoding",
            self._rpcs.encode,
            request,
            lambda answer: encoded_from_pb(answer, len(contexts), len(actions)),
        )

    async def fuse(self, ref: ModelRef, rows: Sequence[Encoded], sampled: Sequence[str] = ()) -> list[Floats]:
        """The states [S]."""
        request = fusion_pb2.FuseRequest(
            model=wire.model_ref_to_pb(ref),
            embeddings=wire.tensor_to_pb(np.stack([row.embeddings for row in rows])),
            present=wire.tensor_to_pb(np.stack([row.present for row in rows])),
        )
        return await self._call_for(
            sampled,
            "fusion",
            self._rpcs.fuse,
            request,
            lambda answer: list(rows_of(wire.floats_from_pb(answer.states, 2), len(rows))),
        )

    async def decide(
        self, ref: ModelRef, settings: LoopSettings, rows: Sequence[Candidates], sampled: Sequence[str] = ()
    ) -> list[Choice]:
        """One choice a row, under the loop's exploration."""
        embeddings = [embedding for row in rows for embedding in row.action_embeddings or ()]
        request = policy_pb2.DecideRequest(
            model=wire.model_ref_to_pb(ref),
            exploration=exploration_to_pb(settings),
            states=wire.tensor_to_pb(np.stack([row.state for row in rows])),
            candidates=[
                policy_pb2.Candidates(action_ids=row.action_ids, excluded=row.excluded, baseline=row.baseline)
                for row in rows
            ],
            action_embeddings=wire.tensor_to_pb(np.stack(embeddings)) if embeddings else None,
            seeds=[row.seed for row in rows],
        )
        return await self._call_for(
            sampled, "policy", self._rpcs.decide, request, lambda answer: choices_from_pb(answer, rows)
        )

    async def attribute(self, ref: ModelRef, rows: Sequence[Explained]) -> list[dict[str, float] | None]:
        """Share of each modality that was present in the estimate of the chosen action, a row."""
        embeddings = [row.action_embedding for row in rows if row.action_embedding is not None]
        to_state = policy_pb2.AttributeRequest(
            model=wire.model_ref_to_pb(ref),
            states=wire.tensor_to_pb(np.stack([row.state for row in rows])),
            action_ids=[row.action_id for row in rows],
            action_embeddings=wire.tensor_to_pb(np.stack(embeddings)) if embeddings else None,
        )
        gradients = await self._call("policy", self._rpcs.attribute_to_state, to_state, lambda answer: answer.gradients)
        to_modalities = fusion_pb2.AttributeRequest(
            model=wire.model_ref_to_pb(ref),
            embeddings=wire.tensor_to_pb(np.stack([row.encoded.embeddings for row in rows])),
            present=wire.tensor_to_pb(np.stack([row.encoded.present for row in rows])),
            gradients=gradients,
        )
        return await self._call(
            "fusion",
            self._rpcs.attribute_to_modalities,
            to_modalities,
            lambda answer: importance_from_pb(answer, rows),
        )
