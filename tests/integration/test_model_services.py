"""Encoding, fusion and policy over real gRPC, on versions that a registry names."""

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image
from prometheus_client import CollectorRegistry
from scipy.stats import chisquare
from sqlalchemy import Engine

from services.encoding.server import run as run_encoding
from services.encoding.settings import EncodingSettings
from services.fusion.server import run as run_fusion
from services.fusion.settings import FusionServiceSettings
from services.policy.server import run as run_policy
from services.policy.settings import PolicySettings
from shared import wire
from shared.db.engine import open_engine, write_session
from shared.db.upgrading import upgrade
from shared.domain import Action, Context, Media, ModelRef
from shared.grpc import open_channel
from shared.loop_settings import LoopSettings
from shared.model_metrics import ModelMetrics
from shared.networks.media import NOT_AN_IMAGE
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.encoding.v1.encoding_pb2_grpc import EncodingServiceStub
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.fusion.v1.fusion_pb2_grpc import FusionServiceStub
from shared.pb.policy.v1 import policy_pb2
from shared.pb.policy.v1.policy_pb2_grpc import PolicyServiceStub
from shared.pb.serving.v1 import serving_pb2
from shared.pb.serving.v1.serving_pb2_grpc import ModelServiceStub
from shared.registry.artifacts import ArtifactStore
from shared.registry.manifest import Architecture
from shared.registry.versions import move_alias
from tests.versions import LOOP, TENANT, register

SETTINGS = LoopSettings.model_validate(
    {
        "modalities": {"photo": {"kind": "image"}, "title": {"kind": "text"}},
        "actions": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
        "reward": {"range": [-1, 3]},
    }
)
ARCHITECTURE = Architecture.of(SETTINGS)
WITH_FEATURES = SETTINGS.model_copy(update={"actions": []})
STAGES = ("encoding", "fusion", "policy")
SECONDS = 60


def ref(version: int) -> ModelRef:
    return ModelRef(TENANT, LOOP, version)


def png(shade: int) -> Media:
    out = BytesIO()
    Image.new("L", (28, 28), shade).save(out, "PNG")
    return Media("image/png", hashlib.sha256(out.getvalue()).hexdigest(), out.getvalue())


CONTEXTS: list[Context] = [{"photo": png(20), "title": "Red shoe"}, {"title": "Blue hat"}, {"photo": png(250)}]


@dataclass
class Services:
    """The three services, running, and the registry that they look at."""

    engine: Engine
    store: ArtifactStore
    artifacts: Path
    addresses: dict[str, str]
    channels: dict[str, grpc.aio.Channel]

    def publish(self, version: int, settings: LoopSettings = SETTINGS, *, experienced: bool = True) -> None:
        register(self.engine, self.store, settings, version, experienced=experienced)

    async def loaded(self, stage: str) -> set[int]:
        answer = await ModelServiceStub(self.channels[stage]).ListModels(
            serving_pb2.ListModelsRequest(), timeout=SECONDS
        )
        return {wire.model_ref_from_pb(one).version for one in answer.models}

    async def wait_for(self, *versions: int, stages: tuple[str, ...] = STAGES) -> None:
        async def all_loaded() -> bool:
            return all([set(versions) <= await self.loaded(stage) for stage in stages])

        await until(all_loaded)

    async def encode(
        self, version: int, contexts: list[Context], actions: list[Action] | None = None
    ) -> encoding_pb2.EncodeResponse:
        request = encoding_pb2.EncodeRequest(
            model=wire.model_ref_to_pb(ref(version)),
            contexts=map(wire.context_to_pb, contexts),
            actions=map(wire.action_to_pb, actions or []),
        )
        answer: encoding_pb2.EncodeResponse = await EncodingServiceStub(self.channels["encoding"]).Encode(
            request, timeout=SECONDS
        )
        return answer

    async def fuse(self, version: int, encoded: encoding_pb2.EncodeResponse) -> fusion_pb2.FuseResponse:
        request = fusion_pb2.FuseRequest(
            model=wire.model_ref_to_pb(ref(version)), embeddings=encoded.embeddings, present=encoded.present
        )
        answer: fusion_pb2.FuseResponse = await FusionServiceStub(self.channels["fusion"]).Fuse(
            request, timeout=SECONDS
        )
        return answer

    async def decide(self, request: policy_pb2.DecideRequest) -> policy_pb2.DecideResponse:
        answer: policy_pb2.DecideResponse = await PolicyServiceStub(self.channels["policy"]).Decide(
            request, timeout=SECONDS
        )
        return answer


def decide_request(
    version: int, states: np.ndarray, ids: list[list[str]], **changes: object
) -> policy_pb2.DecideRequest:
    request = policy_pb2.DecideRequest(
        model=wire.model_ref_to_pb(ref(version)),
        exploration=policy_pb2.Exploration(
            strategy="thompson", epsilon=0.1, temperature=0.1, floor=0.005, reward_low=-1, reward_high=3
        ),
        states=wire.tensor_to_pb(states),
        candidates=[policy_pb2.Candidates(action_ids=row) for row in ids],
        seeds=range(10**18, 10**18 + len(ids)),
    )
    request.MergeFrom(policy_pb2.DecideRequest(**changes))
    return request


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(home: Path, engine: Engine) -> AsyncIterator[Services]:
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory() as sockets:
        addresses = {stage: f"unix:{sockets}/{stage}" for stage in STAGES}
        metrics = ModelMetrics(CollectorRegistry())
        serving = asyncio.gather(
            run_encoding(EncodingSettings(home=home, encoding_address=addresses["encoding"]), stop, metrics),
            run_fusion(FusionServiceSettings(home=home, fusion_address=addresses["fusion"]), stop, metrics),
            run_policy(PolicySettings(home=home, policy_address=addresses["policy"]), stop, metrics),
        )
        channels = {stage: open_channel(address) for stage, address in addresses.items()}
        artifacts = home / "artifacts"
        services = Services(engine, ArtifactStore(artifacts), artifacts, addresses, channels)

        async def all_ready() -> bool:
            assert not serving.done()
            return all([await is_ready(channel) for channel in channels.values()])

        try:
            await until(all_ready)
            yield services
        finally:
            stop.set()
            for channel in channels.values():
                await channel.close()
            await serving


async def is_ready(channel: grpc.aio.Channel) -> bool:
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    engine = open_engine(f"sqlite:///{tmp_path / 'rewardloop.db'}")
    upgrade(engine)
    async with running(tmp_path, engine) as services:
        yield services


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_a_decision_walks_through_all_three(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    encoded = await services.encode(1, CONTEXTS)
    assert list(encoded.modalities) == ["photo", "title"]
    assert wire.tensor_from_pb(encoded.present, "bool", 2).tolist() == [[True, True], [False, True], [True, False]]
    states = wire.floats_from_pb((await services.fuse(1, encoded)).states, 2)
    assert states.shape == (3, ARCHITECTURE.state_width)
    ids = [["a", "b", "c"], ["c", "a"], ["a", "new", "b", "c"]]
    answer = await services.decide(decide_request(1, states, ids))
    drawn = wire.tensor_from_pb(answer.drawn, "int64", 1)
    probabilities = wire.doubles_from_pb(answer.probabilities)
    assert probabilities.shape == (9,)
    for row, place in enumerate(np.split(probabilities, [3, 5])):
        assert place.sum() == pytest.approx(1.0, abs=1e-12)
        assert place.min() >= 0.005 / len(place) - 1e-15
        assert 0 <= drawn[row] < len(place)
    rewards, variances = wire.doubles_from_pb(answer.expected_rewards), wire.doubles_from_pb(answer.variances)
    # The head has seen that c is best: 3 in the reward's unit, where a is -1.
    assert rewards[2] == rewards[:3].max() > 2
    assert rewards[0] < rewards[1] < rewards[2]
    assert (wire.doubles_from_pb(answer.outcome_variances) > variances).all()
    assert answer.head_sequence == 300


async def test_version_one_is_uniform_over_the_allowed(services: Services) -> None:
    services.publish(1, experienced=False)
    await services.wait_for(1)
    ids, states = [["a", "b", "c"], ["a", "x", "b", "y"]], np.ones((2, ARCHITECTURE.state_width), np.float32)
    request = decide_request(1, states, ids)
    request.candidates[1].excluded.append(0)
    answer = await services.decide(request)
    expected = [1 / 3] * 3 + [0] + [1 / 3] * 3
    np.testing.assert_allclose(wire.doubles_from_pb(answer.probabilities), expected, atol=1e-12)
    assert wire.doubles_from_pb(answer.expected_rewards).tolist() == [-1.0] * 7
    assert answer.head_sequence == 0


@pytest.mark.parametrize("settings", [SETTINGS, WITH_FEATURES], ids=["by id", "by features"])
async def test_a_choice_is_explained_by_both(services: Services, settings: LoopSettings) -> None:
    services.publish(1, settings)
    await services.wait_for(1)
    actions = [Action("b", {"price": 3})] * 3 if settings is WITH_FEATURES else []
    encoded = await services.encode(1, [*CONTEXTS, {}], [*actions, *actions[:1]])
    states = (await services.fuse(1, encoded)).states
    model = wire.model_ref_to_pb(ref(1))
    asked = policy_pb2.AttributeRequest(model=model, states=states, action_ids=["b"] * 4)
    if actions:
        asked.action_embeddings.CopyFrom(encoded.action_embeddings)
    gradients = (await PolicyServiceStub(services.channels["policy"]).Attribute(asked, timeout=SECONDS)).gradients
    answer = await FusionServiceStub(services.channels["fusion"]).Attribute(
        fusion_pb2.AttributeRequest(
            model=model, embeddings=encoded.embeddings, present=encoded.present, gradients=gradients
        ),
        timeout=SECONDS,
    )
    shares = wire.doubles_from_pb(answer.shares, 2)
    np.testing.assert_allclose(shares.sum(1), [1, 1, 1, 0], atol=1e-12)
    assert (shares > 0).tolist() == wire.tensor_from_pb(encoded.present, "bool", 2).tolist()
    asked.action_ids.append("one too many")
    code, _ = await refused(PolicyServiceStub(services.channels["policy"]).Attribute(asked, timeout=SECONDS))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_candidates_are_scored_over_their_features(services: Services) -> None:
    services.publish(1, WITH_FEATURES)
    await services.wait_for(1)
    actions = [Action("a", {"price": 1}), Action("b", {"price": 900}), Action("anything", {"price": 1})]
    encoded = await services.encode(1, CONTEXTS[:1], actions)
    states = wire.floats_from_pb((await services.fuse(1, encoded)).states, 2)
    ids = [[action.id for action in actions]]
    request = decide_request(1, states, ids, action_embeddings=encoded.action_embeddings)
    assert len(set(wire.doubles_from_pb((await services.decide(request)).expected_rewards))) == 3
    code, _ = await refused(services.decide(decide_request(1, states, ids)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_draws_follow_the_distribution_that_is_logged(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    rows = 20_000
    seeds = [int(seed) for seed in np.random.default_rng(3).integers(0, 2**64, rows, dtype=np.uint64)]
    state = np.random.default_rng(4).normal(size=(1, ARCHITECTURE.state_width)).astype(np.float32)
    request = decide_request(1, np.repeat(state, rows, 0), [["a", "b", "c"]] * rows)
    request.exploration.strategy, request.exploration.temperature = "boltzmann", 0.7
    request.seeds[:] = seeds
    answer = await services.decide(request)
    probabilities = wire.doubles_from_pb(answer.probabilities).reshape(rows, 3)
    assert (probabilities == probabilities[0]).all()
    counts = Counter(wire.tensor_from_pb(answer.drawn, "int64", 1).tolist())
    observed = [counts[position] for position in range(3)]
    assert chisquare(observed, rows * probabilities[0]).pvalue > 1e-4
    again = await services.decide(request)
    assert again.drawn == answer.drawn


async def test_answers_do_not_depend_on_the_batch(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    together = await services.encode(1, CONTEXTS * 8)
    alone = await services.encode(1, CONTEXTS[:1])
    embeddings = wire.floats_from_pb(together.embeddings, 3)
    np.testing.assert_allclose(wire.floats_from_pb(alone.embeddings, 3)[0], embeddings[0], atol=1e-4)
    assert (await services.encode(1, CONTEXTS[:1])) == alone
    states = wire.floats_from_pb((await services.fuse(1, together)).states, 2)
    state = wire.floats_from_pb((await services.fuse(1, alone)).states, 2)
    np.testing.assert_allclose(state[0], states[0], atol=1e-4)
    batch = await services.decide(decide_request(1, states, [["a", "b", "c"]] * 24))
    single = await services.decide(decide_request(1, states[:1].copy(), [["a", "b", "c"]]))
    for name, atol in (("expected_rewards", 1e-6), ("variances", 1e-6), ("probabilities", 1e-9)):
        of_batch, of_single = (wire.doubles_from_pb(getattr(answer, name)) for answer in (batch, single))
        np.testing.assert_allclose(of_single, of_batch[:3], atol=atol)


async def test_values_that_cannot_be_read_are_refused_one_by_one(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    broken = Media("image/png", "0" * 64, b"\x89PNG and no more")
    encoded = await services.encode(1, [{"photo": broken, "title": "Red"}, {"photo": png(9)}])
    assert [(one.row, one.modality, one.reason) for one in encoded.refusals] == [(0, "photo", NOT_AN_IMAGE)]
    assert wire.tensor_from_pb(encoded.present, "bool", 2).tolist() == [[False, True], [True, False]]


async def test_versions_are_swapped_while_requests_flow(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    served: list[int] = []
    version, stop = 1, asyncio.Event()

    async def traffic() -> None:
        while not stop.is_set():
            picked = version
            encoded = await services.encode(picked, CONTEXTS)
            states = wire.floats_from_pb((await services.fuse(picked, encoded)).states, 2)
            await services.decide(decide_request(picked, states, [["a", "b"]] * 3))
            served.append(picked)

    flowing = [asyncio.create_task(traffic()) for _ in range(4)]
    for number in (2, 3, 4):
        services.publish(number)
        await services.wait_for(number)
        version = number

        async def has_served(number: int = number) -> bool:
            assert not any(task.done() for task in flowing)
            return number in served

        await until(has_served)
    stop.set()
    await asyncio.gather(*flowing)
    assert set(served) == {1, 2, 3, 4}

    async def old_ones_are_gone() -> bool:
        return all([await services.loaded(stage) == {3, 4} for stage in STAGES])

    await until(old_ones_are_gone)


async def test_a_corrupt_version_is_never_served(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    manifest = register(services.engine, services.store, SETTINGS, 2, champion=False)
    for sha256 in manifest.parts.values():
        path = services.artifacts / sha256[:2] / sha256
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    services.publish(3)
    with write_session(services.engine) as session:
        move_alias(session, ref(2), "champion", 0)
    services.publish(4)
    # Version 4 took the alias from version 2, so each service has looked at both.
    await services.wait_for(4)
    for stage in STAGES:
        assert 2 not in await services.loaded(stage)
    code, _ = await refused(services.encode(2, CONTEXTS))
    assert code == grpc.StatusCode.FAILED_PRECONDITION


async def test_errors_have_their_statuses(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    states = np.ones((1, ARCHITECTURE.state_width), np.float32)
    three = np.ones((1, 3, ARCHITECTURE.encoded_width), np.float32), np.ones((1, 3), bool)
    bad_embeddings = encoding_pb2.EncodeResponse(
        embeddings=wire.tensor_to_pb(three[0]), present=wire.tensor_to_pb(three[1])
    )
    nothing_allowed = decide_request(1, states, [["a"]])
    nothing_allowed.candidates[0].excluded.append(0)
    unknown_strategy = decide_request(1, states, [["a"]])
    unknown_strategy.exploration.strategy = "guess"
    one_seed_more = decide_request(1, states, [["a"]])
    one_seed_more.seeds.append(1)
    for call in (
        services.encode(1, CONTEXTS, [Action("a")]),
        services.fuse(1, bad_embeddings),
        services.decide(decide_request(1, np.ones((1, 63), np.float32), [["a"]])),
        services.decide(decide_request(1, np.full((1, ARCHITECTURE.state_width), np.nan, np.float32), [["a"]])),
        services.decide(decide_request(1, states, [])),
        services.decide(nothing_allowed),
        services.decide(unknown_strategy),
        services.decide(one_seed_more),
    ):
        assert (await refused(call))[0] == grpc.StatusCode.INVALID_ARGUMENT
    for call in (
        services.encode(7, CONTEXTS),
        services.fuse(7, await services.encode(1, CONTEXTS)),
        services.decide(decide_request(7, states, [["a"]])),
    ):
        code, text = await refused(call)
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert text == f"version 7 of loop {LOOP} is not loaded"


async def test_large_batches_fit_in_a_message(services: Services) -> None:
    services.publish(1)
    await services.wait_for(1)
    data = bytes(6 * 2**20)
    contexts: list[Context] = [{"photo": Media("image/png", "0" * 64, data), "title": "kept"} for _ in range(6)]
    encoded = await services.encode(1, contexts)
    assert len(encoded.refusals) == 6


async def test_services_describe_themselves(services: Services) -> None:
    def names(target: str) -> set[str]:
        with grpc.insecure_channel(target) as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    for stage, service in (("encoding", "Encoding"), ("fusion", "Fusion"), ("policy", "Policy")):
        described = await asyncio.to_thread(names, services.addresses[stage])
        assert {f"rewardloop.{stage}.v1.{service}Service", "rewardloop.serving.v1.ModelService"} <= described
