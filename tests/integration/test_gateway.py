"""The gateway as a process: with a real log and database, and model services over real gRPC."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from services.gateway.model_services import STAGES
from shared.db.engine import open_engine, write_session
from shared.domain import Decision, Feedback, ModelRef
from shared.eventlog.local import LocalEventLog
from shared.events import DECISIONS, FEEDBACK, event_from_record
from shared.loop_settings import LoopSettings
from shared.pb.encoding.v1 import encoding_pb2_grpc
from shared.pb.fusion.v1 import fusion_pb2_grpc
from shared.pb.policy.v1 import policy_pb2_grpc
from shared.pb.serving.v1 import serving_pb2_grpc
from shared.registry.artifacts import ArtifactStore
from shared.registry.versions import add_version, move_alias
from tests.unit.services.gateway.fakes import START, FakeModels, manifest_of, version_of

KEY = "integration-" + "k" * 40
LOOP = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
REF = ModelRef("default", "shoes", 1)


class Process:
    """`python -m services.gateway` on a state folder of its own."""

    def __init__(self, home: Path, sockets: Path) -> None:
        self.home, self.sockets = home, sockets
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "REWARDLOOP_HOME": str(self.home),
            "REWARDLOOP_PORT": str(self.port),
            "REWARDLOOP_BOOTSTRAP_KEY": KEY,
            "REWARDLOOP_STAGE_TIMEOUT": "0.5",
            # No trainer makes a version here.
            "REWARDLOOP_FIRST_VERSION_TIMEOUT": "0",
            **{f"REWARDLOOP_{stage.upper()}_ADDRESS": self.address for stage in STAGES},
        }
        self._process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment)
        with httpx.Client() as http:
            deadline = time.monotonic() + 60
            while not self._is_ready(http):
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)

    @property
    def address(self) -> str:
        return f"unix:{self.sockets / 'models'}"

    def client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30)

    def end(self, number: signal.Signals) -> float:
        """Seconds until it was gone."""
        assert self._process is not None
        before = time.monotonic()
        self._process.send_signal(number)
        self._process.wait(timeout=30)
        return time.monotonic() - before

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _is_ready(self, http: httpx.Client) -> bool:
        try:
            return http.get(f"http://127.0.0.1:{self.port}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with tempfile.TemporaryDirectory() as sockets:
        process = Process(tmp_path, Path(sockets))
        process.start()
        yield process
        if process.is_running():
            process.end(signal.SIGKILL)


@asynccontextmanager
async def model_services(address: str, models: FakeModels) -> AsyncIterator[None]:
    """The fakes behind a real server."""
    rpcs = models.rpcs()

    def method(rpc: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def handle(request: object, _: object) -> object:
            return await rpc(request, timeout=1.0)

        return handle

    class Servicer:
        ListModels = staticmethod(method(rpcs.list_models["encoding"]))
        Encode = staticmethod(method(rpcs.encode))
        Fuse = staticmethod(method(rpcs.fuse))
        Decide = staticmethod(method(rpcs.decide))

    class FusionServicer(Servicer):
        Attribute = staticmethod(method(rpcs.attribute_to_modalities))

    class PolicyServicer(Servicer):
        Attribute = staticmethod(method(rpcs.attribute_to_state))

    server = grpc.aio.server()
    for add, servicer in (
        (serving_pb2_grpc.add_ModelServiceServicer_to_server, Servicer),
        (encoding_pb2_grpc.add_EncodingServiceServicer_to_server, Servicer),
        (fusion_pb2_grpc.add_FusionServiceServicer_to_server, FusionServicer),
        (policy_pb2_grpc.add_PolicyServiceServicer_to_server, PolicyServicer),
    ):
        add(servicer(), server)  # type: ignore[arg-type] # it has the methods that are called
    server.add_insecure_port(address)
    await server.start()
    yield
    await server.stop(grace=None)


def publish(home: Path) -> None:
    """Makes version 1 the champion, as the trainer does."""
    manifest = manifest_of(REF, LoopSettings.model_validate(LOOP))
    sha256 = ArtifactStore(home / "artifacts").put(manifest.model_dump_json().encode())
    with write_session(open_engine(f"sqlite:///{home / 'rewardloop.db'}")) as session:
        add_version(session, version_of(manifest, sha256))
        move_alias(session, REF, "champion", START)


async def decided_by(http: httpx.AsyncClient, version: str | None) -> dict[str, object]:
    """The first decision that this version makes; none fails meanwhile."""
    deadline = time.monotonic() + 20
    while True:
        answer: dict[str, object] = (
            (await http.post("/v1/loops/shoes/decisions", json={"context": {"title": "x"}})).raise_for_status().json()
        )
        if answer["model_version"] == version:
            return answer
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.05)


async def test_model_services_come_and_go_without_a_failed_decision(process: Process) -> None:
    models = FakeModels()
    models.load(REF)
    async with process.client() as http:
        (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
        assert (await decided_by(http, None))["fallback_reason"] == "no_model_yet"
        publish(process.home)
        for _ in range(2):
            async with model_services(process.address, models):
                answer = await decided_by(http, "1")
                assert answer["modalities_used"] == ["title"]
            assert (await decided_by(http, None))["fallback_reason"] == "model_unavailable"


async def test_what_was_answered_is_in_the_log_after_a_kill(process: Process) -> None:
    decided: list[str] = []
    told: list[str] = []

    async def traffic(http: httpx.AsyncClient) -> None:
        while True:
            try:
                decision = (await http.post("/v1/loops/shoes/decisions", json={})).raise_for_status().json()
                decided.append(decision["decision_id"])
                event = {"decision_id": decision["decision_id"], "metric": "reward", "value": 1}
                answer = (await http.post("/v1/loops/shoes/feedback", json=event)).raise_for_status().json()
                told.extend(answer["feedback_ids"])
            except httpx.TransportError:
                return

    async with process.client() as http:
        (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
        clients = [asyncio.create_task(traffic(http)) for _ in range(8)]
        while len(told) < 200:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(process.end, signal.SIGKILL)
        await asyncio.gather(*clients)
    log = LocalEventLog(process.home / "eventlog", lambda: START)
    kept = {
        topic: [event_from_record(row.record) for row in log.read(topic, 0, 0, 10**6)]
        for topic in (DECISIONS, FEEDBACK)
    }
    decisions = [event.decision_id for event in kept[DECISIONS] if isinstance(event, Decision)]
    feedback = [event.feedback_id for event in kept[FEEDBACK] if isinstance(event, Feedback)]
    assert set(decided) <= set(decisions)
    assert set(told) <= set(feedback)
    assert len(decisions) == len(set(decisions)) <= len(decided) + 8


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_when_what_is_under_way_is_answered(process: Process, number: signal.Signals) -> None:
    body = b'{"context": {"title": "x"}}'
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    async with process.client() as http:
        (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
    head = (
        f"POST /v1/loops/shoes/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[:5])
    await writer.drain()
    ended = asyncio.create_task(asyncio.to_thread(process.end, number))
    while await listens(process.port):
        await asyncio.sleep(0.01)
    writer.write(body[5:])
    assert b"200 OK" in await reader.readline()
    assert await ended < 5
    writer.close()


async def test_a_body_that_is_too_large_is_answered_by_the_server(process: Process) -> None:
    async with process.client() as http:
        (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
        answer = await http.post("/v1/loops/shoes/decisions", content=b" " * (9 * 2**20))
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert (await http.post("/v1/loops/shoes/decisions", json={})).status_code == 200


async def test_its_secrets_are_its_owners(process: Process) -> None:
    assert (process.home / "draw.secret").stat().st_mode & 0o777 == 0o600
    assert not (process.home / "bootstrap.key").exists()
