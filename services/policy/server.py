"""The policy service over gRPC: from protobuf, to deciding, to protobuf."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import grpc
import torch
from google.protobuf.message import Message
from torch import Tensor

from services.policy.attributing import state_gradients
from services.policy.deciding import decide, load_version_policy
from services.policy.learning import OnlineHeads
from services.policy.observing import Observer
from services.policy.repository import read_unlearned
from services.policy.settings import PolicySettings
from shared import wire
from shared.clocks import monotonic, wall
from shared.db.engine import open_engine
from shared.eventlog.opening import open_event_log
from shared.grpc import mutual_tls
from shared.loop_settings import ExplorationSettings
from shared.model_metrics import ModelMetrics, Observed, Rows, WorkingThreads
from shared.model_server import serve_models
from shared.networks.placement import Placement
from shared.networks.policy import Candidates, Policy
from shared.pb.policy.v1 import policy_pb2, policy_pb2_grpc
from shared.pb.tensor.v1 import tensor_pb2
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import Loaded, LoadedVersions
from shared.tracing import open_tracing

SERVICE = "rewardloop.policy.v1.PolicyService"
ROWS: Final[Rows] = {
    "Decide": lambda request: len(request.candidates),
    "Attribute": lambda request: len(request.action_ids),
}


class PolicyServicer(policy_pb2_grpc.PolicyServiceServicer):
    """Answers Decide and Attribute; the work is done in a thread of its own, never on the event loop."""

    def __init__(self, loaded: LoadedVersions[Policy], heads: OnlineHeads, executor: ThreadPoolExecutor) -> None:
        self._loaded = loaded
        self._heads = heads
        self._executor = executor

    async def Decide(  # noqa: N802 - gRPC's name
        self, request: policy_pb2.DecideRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> policy_pb2.DecideResponse:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._decide, request)

    def _decide(self, request: policy_pb2.DecideRequest) -> policy_pb2.DecideResponse:
        head = self._heads.current(self._loaded.get(wire.model_ref_from_pb(request.model)))
        rows = request.candidates
        candidates = Candidates.of([row.action_ids for row in rows], [row.excluded for row in rows])
        drawn = decide(
            head.policy,
            head.loaded.manifest.settings.reward.range,
            _tensor(request.states),
            candidates,
            _action_embeddings(request),
            _exploration(request.exploration),
            (request.exploration.reward_low, request.exploration.reward_high),
            request.seeds,
            [row.baseline if row.HasField("baseline") else None for row in rows],
        )
        return policy_pb2.DecideResponse(
            head_sequence=head.sequence,
            drawn=wire.tensor_to_pb(drawn.position.numpy()),
            probabilities=wire.tensor_to_pb(drawn.probabilities.numpy()),
            expected_rewards=wire.tensor_to_pb(drawn.expected_rewards.numpy()),
            variances=wire.tensor_to_pb(drawn.variances.numpy()),
            outcome_variances=wire.tensor_to_pb(drawn.outcome_variances.numpy()),
            abstained=drawn.abstained.tolist(),
            policy_logits=None if drawn.policy_logits is None else wire.tensor_to_pb(drawn.policy_logits.numpy()),
        )

    async def Attribute(  # noqa: N802 - gRPC's name
        self, request: policy_pb2.AttributeRequest, context: grpc.aio.ServicerContext[Message, Message]
    ) -> policy_pb2.AttributeResponse:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._attribute, request)

    def _attribute(self, request: policy_pb2.AttributeRequest) -> policy_pb2.AttributeResponse:
        head = self._heads.current(self._loaded.get(wire.model_ref_from_pb(request.model)))
        gradients_BS = state_gradients(
            head.policy, _tensor(request.states), request.action_ids, _action_embeddings(request)
        )
        return policy_pb2.AttributeResponse(gradients=wire.tensor_to_pb(gradients_BS.numpy()))


def _tensor(message: tensor_pb2.Tensor) -> Tensor:
    """float32 [N, …] of the caller's own."""
    return torch.from_numpy(wire.floats_from_pb(message, 2).copy())


def _action_embeddings(request: policy_pb2.DecideRequest | policy_pb2.AttributeRequest) -> Tensor | None:
    return _tensor(request.action_embeddings) if request.HasField("action_embeddings") else None


def _exploration(message: policy_pb2.Exploration) -> ExplorationSettings:
    return ExplorationSettings.model_validate(
        {
            "strategy": message.strategy,
            "epsilon": message.epsilon,
            "temperature": message.temperature,
            "scale": message.scale,
            "gamma": message.gamma,
            "floor": message.floor,
            "abstain_below": message.abstain_below if message.HasField("abstain_below") else None,
        }
    )


async def run(settings: PolicySettings, stop: asyncio.Event, metrics: ModelMetrics) -> None:
    """Serves, and lets the heads learn, until `stop`.

    Raises:
        NoDeviceError: the GPU that the settings ask for is not here.
    """
    store = ArtifactStore(settings.artifact_folder)
    engine = open_engine(settings.database)
    build = partial(load_version_policy, placement=Placement.of(settings))
    loaded = LoadedVersions(engine, store, "policy", build)
    tracing = open_tracing(settings, "policy")
    observer = Observer(metrics.registry, tracing)
    heads = OnlineHeads(loaded, open_event_log(settings, wall), partial(read_unlearned, engine), monotonic, observer)
    observer.watch(lambda: heads.behind)
    ended = threading.Event()
    learning = threading.Thread(target=heads.run, args=(ended,), name="heads", daemon=True)
    with WorkingThreads(1, "policy", metrics) as executor:
        servicer = PolicyServicer(loaded, heads, executor)

        def add_service(server: grpc.aio.Server) -> None:
            policy_pb2_grpc.add_PolicyServiceServicer_to_server(servicer, server)

        def head_sequence(version: Loaded[Policy]) -> int:
            return heads.current(version).sequence

        learning.start()
        observed = Observed("policy", ROWS, metrics, tracing)
        await serve_models(
            settings.policy_address,
            SERVICE,
            add_service,
            loaded,
            stop,
            observed,
            head_sequence,
            tls=mutual_tls(settings),
        )
        ended.set()
