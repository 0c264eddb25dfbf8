"""The directory: fresh while the database is there, stale but serving while it is not."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from services.gateway.idempotency import DecidedBefore
from shared.db.engine import write_session
from shared.db.tables import ApiKeyRow, LoopRow
from shared.domain import ModelRef
from tests.unit.services.gateway.fakes import Gateway

SHOES = ("default", "shoes")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_what_another_process_changes_is_seen_within_a_refresh(gateway: Gateway, http: httpx.AsyncClient) -> None:
    stop = gateway.parts.directory.keep_fresh(0.01)
    with write_session(gateway.ports.engine) as session:
        row = session.get_one(LoopRow, SHOES)
        row.settings = row.settings | {"default_reward": 7.0}
        row.settings_revision += 1
        session.query(ApiKeyRow).update({ApiKeyRow.revoked_at: 1})

    def seen() -> bool:
        served = gateway.parts.directory.loop(*SHOES)
        return served is not None and served.loop.settings.default_reward == 7.0

    until(seen)
    assert (await http.get("/v1/loops/shoes")).status_code == 401
    stop()


async def test_it_serves_stale_while_the_database_is_away(gateway: Gateway, http: httpx.AsyncClient) -> None:
    with gateway.ports.engine.begin() as connection:
        connection.execute(text("ALTER TABLE loops RENAME TO moved"))
    before = gateway.parts.directory.snapshot
    with capture_logs() as logs:
        stop = gateway.parts.directory.keep_fresh(0.005)
        until(lambda: len([entry for entry in logs if entry["event"] == "directory is stale"]) >= 2)
    assert gateway.parts.directory.snapshot is before
    assert (await http.post("/v1/loops/shoes/decisions", json={})).status_code == 200
    assert (await http.get("/readyz")).status_code == 200
    assert (await http.put("/v1/loops/hats", json={"modalities": {"x": {"kind": "text"}}})).status_code == 503
    with gateway.ports.engine.begin() as connection:
        connection.execute(text("ALTER TABLE moved RENAME TO loops"))
    until(lambda: gateway.parts.directory.snapshot is not before)
    stop()


async def test_a_loop_that_has_not_changed_is_not_read_again(gateway: Gateway, http: httpx.AsyncClient) -> None:
    before = gateway.parts.directory.loop(*SHOES)
    gateway.parts.directory.refresh()
    assert gateway.parts.directory.loop(*SHOES) is before


async def test_a_version_without_a_readable_manifest_never_serves(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    await gateway.publish("shoes", 2, load=False)
    with gateway.ports.engine.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET manifest_sha256 = :none WHERE version = 2"), {"none": "0" * 64}
        )
    gateway.models.load(ModelRef("default", "shoes", 2))
    fresh = gateway.parts.directory
    fresh.snapshot = type(fresh.snapshot)()
    await gateway.catch_up()
    answer = (await http.post("/v1/loops/shoes/decisions", json={})).json()
    assert answer["model_version"] == "1"


async def test_a_slow_database_is_not_waited_for(gateway: Gateway) -> None:
    release = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(release.wait)
        before = DecidedBefore(gateway.ports.engine, thread, timeout=0.05)
        assert await before.get(("default", "shoes", "d-1")) is None
        release.set()
        assert await DecidedBefore(gateway.ports.engine, thread, timeout=10).get(("default", "shoes", "d-1")) is None


async def test_while_the_database_does_not_answer_decisions_wait_for_it_less(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real = asyncio.timeout

    def noted(seconds: float) -> asyncio.Timeout:
        waits.append(seconds)
        return real(seconds)

    monkeypatch.setattr(asyncio, "timeout", noted)
    release = threading.Event()
    key = ("default", "shoes", "d-1")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(release.wait)
        before = DecidedBefore(gateway.ports.engine, thread, timeout=0.1)
        assert await before.get(key) is None
        assert await before.get(key) is None
        release.set()
        # The first answer that comes in the little time gives the next one all of it again.
        async with real(60):
            while waits.count(0.1) < 2:
                await before.get(key)
    assert waits[:2] == [0.1, pytest.approx(0.01)]
