"""What stands outside the gateway, as its tests have it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import httpx
import numpy as np
from fastapi import FastAPI

from services.gateway import repository
from services.gateway.app import create_app
from services.gateway.authentication import ensure_bootstrap_key
from services.gateway.fallback import draw
from services.gateway.model_services import STAGES, Rpcs, Stage
from services.gateway.parts import Parts, Ports, assemble
from services.gateway.settings import GatewaySettings
from services.gateway.training import Enqueue
from shared import wire
from shared.db.engine import open_engine, write_session
from shared.domain import EvaluationRef, ModelRef, ModelVersion, RunRef
from shared.eventlog import EventLogError, Position, Record, StoredRecord
from shared.events import Event, event_from_record
from shared.loop_settings import LoopSettings
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.policy.v1 import policy_pb2
from shared.pb.serving.v1 import serving_pb2
from shared.registry.artifacts import ArtifactStore
from shared.registry.manifest import Architecture, CurvePoint, Manifest
from shared.registry.versions import add_version, move_alias
from shared.security import Role, key_digest

START = 1_763_900_000_000_000
HEAD_SEQUENCE = 5
EXPECTED, VARIANCE, OUTCOME_VARIANCE = 0.1, 0.01, 0.04

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class ManualClock:
    """Goes on by a microsecond at each look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        self.now += 1
        return self.now


class MemoryLog:
    """The event log's port in memory; `broken` makes appends fail, by `error`."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self.appends: list[int] = []
        self.broken = False
        self.error: type[EventLogError] = EventLogError

    def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        if self.broken:
            raise self.error(f"log {topic}: disk full")
        rows = self.topics.setdefault(topic, [])
        first = len(rows)
        rows.extend(records)
        self.appends.append(len(records))
        return [Position(topic, 0, first + index) for index in range(len(records))]

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        rows = self.topics.get(topic, [])[offset : offset + limit]
        return [StoredRecord(Position(topic, partition, offset + i), row, START) for i, row in enumerate(rows)]

    def ends(self, topic: str) -> dict[int, int]:
        return {0: len(self.topics.get(topic, []))}

    def trim(self, topic: str, before: int) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def events(self, topic: str) -> list[Event]:
        return [event_from_record(record) for record in self.topics.get(topic, [])]


class FakeModels:
    """Three model services that score action i with i/10 and draw uniformly."""

    def __init__(self) -> None:
        self.loaded: dict[Stage, set[ModelRef]] = {stage: set() for stage in STAGES}
        self.failing: dict[Stage, grpc.StatusCode] = {}
        # Calls to these are never answered; being asked what they have, they let the deadline pass.
        self.frozen: set[Stage] = set()
        self.calls: list[Stage] = []
        self.unloaded: set[ModelRef] = set()
        self.refused: dict[str, str] = {}
        self.not_finite = False
        self.policy_logits: list[float] | None = None
        self.unexplained: set[Stage] = set()
        self.batches: list[tuple[Stage, ModelRef, int]] = []
        self.encoded_actions = 0
        self.attributed: list[int] = []

    def rpcs(self) -> Rpcs:
        return Rpcs(
            list_models={stage: self._lists(stage) for stage in STAGES},
            encode=self._call("encoding", self._encode),
            fuse=self._call("fusion", self._fuse),
            decide=self._call("policy", self._decide),
            attribute_to_state=self._call("policy", self._attribute_to_state),
            attribute_to_modalities=self._call("fusion", self._attribute_to_modalities),
        )

    def load(self, ref: ModelRef) -> None:
        for stage in STAGES:
            self.loaded[stage].add(ref)

    def _lists(self, stage: Stage) -> Callable[..., Awaitable[serving_pb2.ListModelsResponse]]:
        async def list_models(_: serving_pb2.ListModelsRequest, **deadline: float) -> serving_pb2.ListModelsResponse:
            assert deadline["timeout"] > 0
            if stage in self.frozen:
                raise error(grpc.StatusCode.DEADLINE_EXCEEDED)
            if stage in self.failing:
                raise error(self.failing[stage])
            return serving_pb2.ListModelsResponse(models=map(wire.model_ref_to_pb, self.loaded[stage]))

        return list_models

    def _call(
        self, stage: Stage, answer: Callable[[RequestT, ModelRef], ResponseT]
    ) -> Callable[..., Awaitable[ResponseT]]:
        async def call(request: RequestT, **deadline: float) -> ResponseT:
            assert deadline["timeout"] > 0
            self.calls.append(stage)
            if stage in self.frozen:
                await asyncio.Event().wait()
            ref = wire.model_ref_from_pb(request.model)  # type: ignore[attr-defined] # all three requests have it
            if stage in self.failing:
                raise error(self.failing[stage])
            if ref in self.unloaded:
                raise error(grpc.StatusCode.FAILED_PRECONDITION)
            return answer(request, ref)

        return call

    def _encode(self, request: encoding_pb2.EncodeRequest, ref: ModelRef) -> encoding_pb2.EncodeResponse:
        self.batches.append(("encoding", ref, len(request.contexts)))
        self.encoded_actions += len(request.actions)
        names = sorted({name for context in request.contexts for name in context.values} | {"title"})
        present = np.array([[name in context.values for name in names] for context in request.contexts])
        return encoding_pb2.EncodeResponse(
            modalities=names,
            embeddings=wire.tensor_to_pb(np.zeros((*present.shape, 2), np.float32)),
            present=wire.tensor_to_pb(present),
            action_embeddings=wire.tensor_to_pb(np.zeros((len(request.actions), 3), np.float32))
            if request.actions
            else None,
            refusals=[
                encoding_pb2.Refusal(row=row, modality=name, reason=reason)
                for row, context in enumerate(request.contexts)
                for name, reason in self.refused.items()
                if name in context.values
            ],
        )

    def _fuse(self, request: fusion_pb2.FuseRequest, ref: ModelRef) -> fusion_pb2.FuseResponse:
        rows = request.embeddings.shape[0]
        self.batches.append(("fusion", ref, rows))
        return fusion_pb2.FuseResponse(states=wire.tensor_to_pb(np.full((rows, 4), 0.5, np.float32)))

    def _decide(self, request: policy_pb2.DecideRequest, ref: ModelRef) -> policy_pb2.DecideResponse:
        self.batches.append(("policy", ref, len(request.candidates)))
        columns: list[list[float]] = [[], [], [], []]
        drawn = []
        for candidates, seed in zip(request.candidates, request.seeds, strict=True):
            count = len(candidates.action_ids)
            allowed = np.array([position not in candidates.excluded for position in range(count)], np.float64)
            probabilities = (allowed / allowed.sum()).tolist()
            drawn.append(draw(probabilities, seed))
            columns[0] += probabilities
            columns[1] += [np.nan if self.not_finite else EXPECTED * position for position in range(count)]
            columns[2] += [VARIANCE] * count
            columns[3] += [OUTCOME_VARIANCE] * count
        probabilities_N, expected_N, variances_N, outcomes_N = (wire.tensor_to_pb(np.array(c)) for c in columns)
        return policy_pb2.DecideResponse(
            head_sequence=HEAD_SEQUENCE,
            drawn=wire.tensor_to_pb(np.array(drawn, np.int64)),
            probabilities=probabilities_N,
            expected_rewards=expected_N,
            variances=variances_N,
            outcome_variances=outcomes_N,
            policy_logits=None if self.policy_logits is None else wire.tensor_to_pb(np.array(self.policy_logits)),
        )

    def _attribute_to_state(self, request: policy_pb2.AttributeRequest, _: ModelRef) -> policy_pb2.AttributeResponse:
        if "policy" in self.unexplained:
            raise error(grpc.StatusCode.INTERNAL)
        return policy_pb2.AttributeResponse(gradients=request.states)

    def _attribute_to_modalities(
        self, request: fusion_pb2.AttributeRequest, _: ModelRef
    ) -> fusion_pb2.AttributeResponse:
        """A modality's share grows with its place; NaN where it is to fail."""
        self.attributed.append(request.embeddings.shape[0])
        present = wire.tensor_from_pb(request.present, "bool", 2)
        shares = present * np.arange(1.0, present.shape[1] + 1)
        shares /= np.maximum(1.0, shares.sum(1, keepdims=True)) if "fusion" not in self.unexplained else np.nan
        return fusion_pb2.AttributeResponse(shares=wire.tensor_to_pb(shares))


def error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="secret detail")


@dataclass
class Gateway:
    """A gateway over fakes, and what a test does with it."""

    app: FastAPI
    parts: Parts
    ports: Ports
    log: MemoryLog
    models: FakeModels
    clock: ManualClock
    manage_key: str
    enqueued: list[RunRef] = field(default_factory=list)
    evaluations: list[EvaluationRef] = field(default_factory=list)

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """Calls with a key; the manage key where none is given, none where it is empty."""
        sent = self.manage_key if key is None else key
        headers = {"Authorization": f"Bearer {sent}"} if sent else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://gateway", headers=headers, timeout=30
        )

    def add_key(self, role: Role, tenant: str = "default", key: str | None = None) -> str:
        key = key or f"key-of-{tenant}-for-{role}"
        with write_session(self.ports.engine) as session:
            repository.add_key(session, tenant, role, key_digest(key), self.clock())
        self.parts.directory.refresh()
        return key

    async def publish(self, loop_id: str, version: int, load: bool = True) -> ModelRef:
        """Makes a version the champion, and loaded by all services unless told otherwise."""
        served = self.parts.directory.loop("default", loop_id)
        assert served is not None
        ref = ModelRef("default", loop_id, version)
        manifest = manifest_of(ref, served.loop.settings)
        sha256 = self.ports.artifacts.put(manifest.model_dump_json().encode())
        with write_session(self.ports.engine) as session:
            add_version(session, version_of(manifest, sha256))
            move_alias(session, ref, "champion", self.clock())
        if load:
            self.models.load(ref)
        await self.catch_up()
        return ref

    async def catch_up(self) -> None:
        """What the gateway does by itself every second, and every quarter of one."""
        self.parts.directory.refresh()
        await self.parts.models.look()


def start_gateway(
    home: Path, log: MemoryLog, clock: ManualClock, enqueue: Enqueue | None = None, **changes: object
) -> Gateway:
    """A gateway over fakes and a real database, which has its schema already, in a folder."""
    key = "manage-key-" + "0" * 40
    settings = GatewaySettings(home=home, bootstrap_key=key, **{"first_version_timeout": 0.0} | changes)  # type: ignore[arg-type] # by name
    models = FakeModels()
    enqueued: list[RunRef] = []
    evaluations: list[EvaluationRef] = []
    ports = Ports(
        engine=open_engine(settings.database),
        event_log=log,
        artifacts=ArtifactStore(settings.artifact_folder),
        rpcs=models.rpcs(),
        enqueue=enqueue or enqueued.append,
        enqueue_evaluation=evaluations.append,
        draw_secret=b"secret",
        clock=clock,
    )
    ensure_bootstrap_key(ports.engine, settings, clock)
    parts = assemble(ports, settings)
    parts.directory.refresh()
    return Gateway(create_app(parts), parts, ports, log, models, clock, key, enqueued, evaluations)


def manifest_of(ref: ModelRef, settings: LoopSettings) -> Manifest:
    return Manifest(
        tenant=ref.tenant,
        loop_id=ref.loop_id,
        version=ref.version,
        parent=ref.version - 1 or None,
        training_run_id=f"run-{ref.loop_id}-{ref.version}",
        created_at=START,
        code_version="0",
        settings=settings,
        settings_revision=1,
        architecture=Architecture.of(settings),
        parts={"encoding": "a" * 64},
        covers_sequence=0,
        metrics={"loss": 0.5, "gate": "passed"},
        training_curve=[CurvePoint(step=20, loss=0.4, learning_rate=0.001)],
    )


def version_of(manifest: Manifest, sha256: str) -> ModelVersion:
    return ModelVersion(
        tenant=manifest.tenant,
        loop_id=manifest.loop_id,
        version=manifest.version,
        status="ready",
        parent=manifest.parent,
        manifest_sha256=sha256,
        covers_sequence=manifest.covers_sequence,
        settings_revision=1,
        training_run_id=manifest.training_run_id,
        metrics=manifest.metrics,
        created_at=manifest.created_at,
    )
