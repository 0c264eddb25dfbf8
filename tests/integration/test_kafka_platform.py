"""Gateway and joiner as processes on a real Kafka that is frozen and killed: nothing lost, nothing counted twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from uuid_utils import uuid7

from deploy.local.kafka import KafkaServer
from tests.integration.test_gateway import Process

URL = "/v1/loops/shoes"
LOOP = {
    "modalities": {"title": {"kind": "text"}},
    "actions": [{"id": "a"}, {"id": "b"}],
    "close_on_first_feedback": True,
}


@pytest.fixture(scope="module")
def broker(kafka_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that a test may stop; where there can be none, the fixture that all tests share has skipped this one."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def environment(broker: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    told = {
        "REWARDLOOP_HOME": str(tmp_path),
        "REWARDLOOP_KAFKA_SERVERS": broker.address,
        "REWARDLOOP_KAFKA_TOPIC_PREFIX": f"{uuid7()}.",
        "REWARDLOOP_KAFKA_PARTITIONS": "3",
        "REWARDLOOP_KAFKA_TIMEOUT": "3",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **told}


def initialise(environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "services", "init"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


@pytest.fixture
def gateway(environment: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    initialise(environment)
    gateway = Process(tmp_path, tmp_path)
    gateway.start()
    joiner = subprocess.Popen([sys.executable, "-m", "services.feedback"], env=environment)
    yield gateway
    if gateway.is_running():
        gateway.end(signal.SIGKILL)
    joiner.kill()
    joiner.wait()


class Traffic:
    """Decisions and their feedback, four at a time; every answer must be a good one."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.answered = 0
        self._http = http
        self._is_over = False
        self._tasks = [asyncio.create_task(self._run()) for _ in range(4)]

    async def answers(self, more: int) -> None:
        target = self.answered + more
        async with asyncio.timeout(60):
            while self.answered < target:
                for task in self._tasks:
                    assert not task.done(), task.exception()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _run(self) -> None:
        while not self._is_over:
            await self._once()

    async def _once(self) -> None:
        made = (await self._http.post(f"{URL}/decisions", json={})).raise_for_status().json()
        assert made["logged"] is True
        event = {"decision_id": made["decision_id"], "metric": "reward", "value": 1}
        (await self._http.post(f"{URL}/feedback", json=event)).raise_for_status()
        self.answered += 1


async def counts(http: httpx.AsyncClient) -> dict[str, object]:
    told: dict[str, object] = (await http.get(f"{URL}/statistics")).raise_for_status().json()
    return told


def test_init_says_what_it_did_and_once_more_does_nothing(environment: dict[str, str]) -> None:
    prefix = environment["REWARDLOOP_KAFKA_TOPIC_PREFIX"]
    first, second = (" ".join(initialise(environment).split()) for _ in range(2))
    assert f"topic {prefix}rewardloop.decisions was made, with 3 partitions" in first
    assert f"topic {prefix}rewardloop.decisions is there, with 3 partitions" in second


async def test_nothing_is_lost_or_counted_twice_while_the_broker_is_frozen_and_killed(
    gateway: Process, broker: KafkaServer
) -> None:
    async with gateway.client() as http:
        (await http.put(URL, json=LOOP)).raise_for_status()
        traffic = Traffic(http)
        await traffic.answers(50)
        await asyncio.to_thread(broker.suspend)
        await traffic.answers(50)
        told = await counts(http)
        assert told["joiner_lag"] is None
        assert sum(told["spooled"].values()) > 0  # type: ignore[attr-defined] # a count a topic
        await asyncio.to_thread(broker.resume)
        await traffic.answers(50)
        await asyncio.to_thread(broker.kill)
        await traffic.answers(50)
        await asyncio.to_thread(broker.start)
        await traffic.answers(50)
        await traffic.stop()
        await until_joined(http, traffic.answered)
        told = await counts(http)
        # What the broker had taken when its answer was lost comes twice, and is dropped by its id.
        assert (told["decisions"], told["feedback"], told["experiences"]) == (traffic.answered,) * 3
        assert (told["dangling_feedback"], told["conflicting_decisions"], told["dead_letters"]) == (0, 0, 0)
        assert sum(told["spooled"].values()) == 0  # type: ignore[attr-defined] # a count a topic


async def until_joined(http: httpx.AsyncClient, answered: int) -> None:
    async with asyncio.timeout(60):
        while True:
            told = await counts(http)
            lag = told["joiner_lag"]
            if told["experiences"] == answered and isinstance(lag, dict) and not any(lag.values()):
                return
            await asyncio.sleep(0.1)
